// Value: what a key holds. One of string, list, set, sorted set and hash.
//
// The aggregate types know just enough to serve the commands: storage, order, and the "encoding"
// that Redis would report for them (a promise about nothing but OBJECT ENCODING and the order of
// small collections). Not thread-safe. Elements given as string_view are copied.
#ifndef LIVEEXEC_DEMO_SERVER_DATA_VALUE_H_
#define LIVEEXEC_DEMO_SERVER_DATA_VALUE_H_

#include <cstdint>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "demo-server/data/dict.h"
#include "demo-server/data/score_index.h"
#include "demo-server/data/storage.h"

namespace liveexec::demo {

enum class Type : uint8_t { kString = 0, kList, kSet, kSortedSet, kHash };
std::string_view TypeName(Type type);  // "string", ..., as TYPE replies

using List = StoredDeque<Bytes>;

struct Field : DictNode<Field> {
  explicit Field(std::string_view v) : value(v) {}
  Bytes value;
};

class Hash {
 public:
  explicit Hash(uint64_t seed) : fields_(seed) {}

  size_t size() const { return fields_.size(); }
  const Bytes* Get(std::string_view name) const;
  Field* Find(std::string_view name) { return fields_.Find(name); }
  // True when the field is new.
  bool Set(std::string_view name, std::string_view value);
  bool Erase(std::string_view name);
  const Dict<Field>& fields() const { return fields_; }
  void Reserve(size_t count) { fields_.Reserve(count); }
  bool compact() const { return compact_; }

 private:
  Dict<Field> fields_;
  bool compact_ = true;  // few and small fields, and never anything else
};

struct SetNode : DictNode<SetNode> {};

class Set {
 public:
  explicit Set(uint64_t seed) : nodes_(seed) {}

  size_t size() const { return nodes_.size(); }
  bool Contains(std::string_view member) const { return nodes_.Find(member) != nullptr; }
  bool Add(std::string_view member);
  bool Erase(std::string_view member);
  const Dict<SetNode>& nodes() const { return nodes_; }
  void Reserve(size_t count) { nodes_.Reserve(count); }
  bool integers() const { return integers_; }
  // In the order of SMEMBERS: numeric for a small set of integers.
  std::vector<std::string_view> Members() const;

 private:
  Dict<SetNode> nodes_;
  bool integers_ = true;  // few members, all of them integers, and never anything else
};

class SortedSet {
 public:
  explicit SortedSet(uint64_t seed) : members_(seed) {}

  size_t size() const { return members_.size(); }
  const Member* Find(std::string_view member) const { return members_.Find(member); }
  // True when the member is new. `score` is not NaN.
  bool Set(std::string_view member, double score);
  bool Erase(std::string_view member);
  void EraseRange(size_t rank, size_t count);
  const Dict<Member>& members() const { return members_; }
  const ScoreIndex& index() const { return index_; }
  void Reserve(size_t count) { members_.Reserve(count); }
  bool compact() const { return compact_; }

 private:
  Dict<Member> members_;
  ScoreIndex index_;
  bool compact_ = true;
};

class Value {
 public:
  explicit Value(Bytes bytes) : data_(std::move(bytes)) {}
  explicit Value(std::string_view bytes) : data_(Bytes(bytes)) {}
  // An empty value of `type`, whose tables hash with `seed`.
  Value(Type type, uint64_t seed);

  Type type() const { return static_cast<Type>(data_.index()); }

  // The content if it is of that type, else null.
  template <typename T>
  T* As() {
    if constexpr (std::is_same_v<T, Bytes>) {
      return std::get_if<Bytes>(&data_);
    } else {
      auto* held = std::get_if<StoredPtr<T>>(&data_);
      return held == nullptr ? nullptr : held->get();
    }
  }
  template <typename T>
  const T* As() const {
    return const_cast<Value*>(this)->As<T>();
  }

  // Makes it the string `bytes`.
  void Assign(std::string_view bytes) {
    if (Bytes* held = As<Bytes>(); held != nullptr) {
      held->assign(bytes);
    } else {
      data_ = Bytes(bytes);
    }
    edited_ = false;
  }
  // A string was changed in place: Redis then has another encoding for it.
  void MarkEdited() { edited_ = true; }

  // As OBJECT ENCODING names it.
  std::string_view Encoding() const;
  Value Copy(uint64_t seed) const;
  // True for an aggregate without elements, which no key may hold.
  bool Empty() const;

 private:
  bool edited_ = false;
  // In the order of Type.
  std::variant<Bytes, StoredPtr<List>, StoredPtr<Set>, StoredPtr<SortedSet>, StoredPtr<Hash>> data_;
};

template <typename T>
constexpr Type TypeOf() {
  if constexpr (std::is_same_v<T, Bytes>) return Type::kString;
  if constexpr (std::is_same_v<T, List>) return Type::kList;
  if constexpr (std::is_same_v<T, Set>) return Type::kSet;
  if constexpr (std::is_same_v<T, SortedSet>) return Type::kSortedSet;
  if constexpr (std::is_same_v<T, Hash>) return Type::kHash;
}

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_DATA_VALUE_H_
