// Call: one execution of a command, and all that its function needs.
//
//   void Strlen(Call& call) {
//     const Bytes* bytes;
//     if (!call.Read(call[1], &bytes)) return;  // WRONGTYPE has been replied
//     call.reply().Integer(bytes == nullptr ? 0 : static_cast<int64_t>(bytes->size()));
//   }
//
// Lives for the execution. The engine's lock is held.
#ifndef LIVEEXEC_DEMO_SERVER_ENGINE_CALL_H_
#define LIVEEXEC_DEMO_SERVER_ENGINE_CALL_H_

#include <cstdint>
#include <string_view>
#include <utility>

#include "absl/types/span.h"
#include "demo-server/engine/engine.h"

namespace liveexec::demo {

// Compares without regard to case; `lower` is in lower case.
bool IsWord(std::string_view argument, std::string_view lower);

class Call {
 public:
  Call(Engine& engine, Session& session, const Command& command,
       absl::Span<const std::string_view> arguments, Reply& reply, bool in_transaction)
      : engine_(engine),
        session_(session),
        command_(command),
        arguments_(arguments),
        reply_(reply),
        in_transaction_(in_transaction) {}

  Engine& engine() { return engine_; }
  Session& session() { return session_; }
  const Command& command() const { return command_; }
  Reply& reply() { return reply_; }
  int64_t now() const { return engine_.now(); }
  int database() const { return session_.database; }
  // False inside EXEC: commands that would wait act as if their timeout had passed.
  bool may_block() const { return !in_transaction_; }

  // Arguments, the command's name being 0.
  size_t size() const { return arguments_.size(); }
  std::string_view operator[](size_t i) const { return arguments_[i]; }
  absl::Span<const std::string_view> arguments() const { return arguments_; }
  bool Is(size_t i, std::string_view lower) const { return IsWord(arguments_[i], lower); }

  // Numbers; false after an error reply.
  bool Integer(size_t i, int64_t* value, std::string_view error = kNotInteger);
  bool Double(size_t i, double* value, std::string_view error = kNotFloat);

  // The entry in the client's database, or null. Read counts as an access, Find does not.
  Entry* Find(std::string_view key) { return engine_.Find(database(), key); }
  Entry* Read(std::string_view key);

  // The value at `key` as a T (Bytes, List, Set, SortedSet, Hash), null when there is none. False
  // when it is of another type: then WRONGTYPE has been replied.
  template <typename T>
  bool Read(std::string_view key, const T** value) {
    return As(Read(key), value);
  }
  template <typename T>
  bool Find(std::string_view key, T** value) {
    return As(Find(key), value);
  }
  // As Find, but creates it when there is none.
  template <typename T>
  bool FindOrCreate(std::string_view key, T** value) {
    if (!Find(key, value)) return false;
    if (*value == nullptr) *value = Insert(key, Value(TypeOf<T>(), seed()))->value.template As<T>();
    return true;
  }

  Entry* Insert(std::string_view key, Value value) {
    return engine_.Insert(database(), key, std::move(value));
  }
  // Replaces whatever `key` held, its expiry included.
  Entry* Replace(std::string_view key, Value value);
  // False when there was none. Counts as a modification.
  bool Erase(std::string_view key);
  void EraseIfEmpty(std::string_view key);
  void Modified(std::string_view key) { engine_.Modified(database(), key); }
  uint64_t seed() { return engine_.keyspace().seed(); }

  void SyntaxError() { reply_.Error(kSyntaxError); }
  void ArityError();
  // Where the first argument or the number of those behind it is found wrong only by the command.
  void SubcommandError();

 private:
  template <typename T, typename V>
  bool As(Entry* entry, V** value) {
    *value = nullptr;
    if (entry == nullptr) return true;
    *value = entry->value.As<std::remove_const_t<T>>();
    if (*value != nullptr) return true;
    reply_.Error(kWrongType);
    return false;
  }
  template <typename V>
  bool As(Entry* entry, V** value) {
    return As<V, V>(entry, value);
  }

  Engine& engine_;
  Session& session_;
  const Command& command_;
  const absl::Span<const std::string_view> arguments_;
  Reply& reply_;
  const bool in_transaction_;
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_ENGINE_CALL_H_
