// Component: a part of the application whose state crosses an upgrade.
//
//   class Counter : public liveexec::Component {
//     std::string_view name() const override { return "counter"; }
//     absl::Status Export(ExportContext& context) const override {
//       context.InitRoot<CounterImage>().setValue(value_);
//       return context.CarryFd("log", log_.get());
//     }
//     absl::Status Rehydrate(ImportContext& context) override {
//       LIVEEXEC_ASSIGN_OR_RETURN(auto image, context.Root<CounterImage>());
//       value_ = image.getValue();
//       LIVEEXEC_ASSIGN_OR_RETURN(log_, context.TakeFd("log"));
//       return absl::OkStatus();
//     }
//     void Activate() override { ... }
//   };
//   LIVEEXEC_COMPONENT("counter", 2, 1);  // writes schema 2, reads 1 and 2: program_note.h
//
// The calls and their order. All come on the main executor's thread while every other registered
// thread is parked (so a component may touch the state of any of them), except that in a fresh
// start nothing is parked.
//
//   fresh start:              Initialize, Activate
//   upgrade, old program:     Precopy, Quiesce, Export, then exec; or, when it is abandoned, Resume
//                             (if it had come to Quiesce), AbandonPrecopy
//   upgrade, new program:     Rehydrate (Initialize when the old program had no such component),
//                             SelfCheck, commit, Committed (of all components), Activate
//   rehearsal, old program:   Export (between callbacks, without Quiesce: the program serves on)
//   rehearsal, new program:   Rehydrate onto stand-in fds, SelfCheck; then the process ends
//
// Export is const and changes nothing, not even the fds (no O_NONBLOCK, no seek): an upgrade may be
// abandoned after it. Rehydrate must not serve: no byte is read or written before Activate.
// Exceptions that leave Export, Rehydrate or SelfCheck are caught and count as errors; kj
// exceptions from malformed images as well.
#ifndef LIVEEXEC_HANDOFF_COMPONENT_H_
#define LIVEEXEC_HANDOFF_COMPONENT_H_

#include <capnp/any.h>
#include <capnp/message.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/unique_fd.h"

namespace liveexec {

// A fd that a component wants carried. The component keeps ownership; the number is borrowed.
struct CarriedFd {
  std::string role;     // what it is to its component: "listener", "client"
  uint64_t number = 0;  // which one of that role
  int fd = -1;
  bool lend = false;  // a rehearsal gets it, opened anew for reading, instead of a stand-in
};

struct ProgramNote;

// Who is to read what is exported.
struct Successor {
  // Whether it goes on with resident memory of `component` that has the layout `fingerprint`
  // (LIVEEXEC_RESIDENT_LAYOUT).
  bool Reads(std::string_view component, uint64_t fingerprint) const;

  const ProgramNote* note = nullptr;  // borrowed; null: not known, which reads no resident memory
  bool portable_only = false;         // resident memory failed before: do without
  bool rehearsal = false;             // it reads a snapshot, in a process of its own
};

// Where a component writes its image. Lives for one Export call; not thread-safe.
class ExportContext {
 public:
  // The image's root, a Cap'n Proto struct. Call it once. A component with no state need not.
  template <typename Schema>
  typename Schema::Builder InitRoot() {
    has_root_ = true;
    return message_.initRoot<Schema>();
  }

  // Lists `fd` (borrowed, open, >= 0) to be carried under (role, number). The pair must be unique
  // within the component: AlreadyExists otherwise, found when the fd table is built.
  absl::Status CarryFd(std::string_view role, int fd) { return CarryFd(role, 0, fd); }
  absl::Status CarryFd(std::string_view role, uint64_t number, int fd);

  // The same for a memory file (memfd). A rehearsal gets it too: opened anew, for reading only, so
  // that neither its content nor its offset can be touched there. Its content may be.
  absl::Status LendFd(std::string_view role, uint64_t number, int fd);

  // Who is to read it. State in resident memory whose layout it does not read has to be exported.
  const Successor& successor() const { return successor_; }

  // There is nothing for this successor: as if this program did not have the component. The
  // successor's, if it has one, is initialized.
  void Omit() { omitted_ = true; }

  // For the journal's notes: what an operator should know, also of a success.
  void Note(std::string text) { notes_.push_back(std::move(text)); }

  // For components with very many records. A snapshot for a rehearsal may take only a slice of the
  // loop's time: ask between records, and once this is true leave the rest out, at a record's
  // border (an orphaned list that is truncated before it is adopted does it). Always false in the
  // crossing itself, which leaves out nothing.
  bool SliceIsSpent();

  // For components that leave records out of a snapshot for another reason: the rehearsal says so.
  void LeaveOutTheRest() { slice_spent_ = left_out_ = true; }

  // True when this is a snapshot for a rehearsal.
  bool snapshot() const { return slice_end_ns_ != 0; }

  // For the framework: what was written.
  capnp::MallocMessageBuilder& message() { return message_; }
  bool has_root() const { return has_root_; }
  const std::vector<CarriedFd>& fds() const { return fds_; }
  // CLOCK_MONOTONIC; 0: no limit.
  void set_slice_end_ns(int64_t end_ns) { slice_end_ns_ = end_ns; }
  void set_successor(const Successor& successor) { successor_ = successor; }
  // True when a component left records out.
  bool sampled() const { return slice_spent_; }
  bool left_out() const { return left_out_; }  // by its own choice
  bool omitted() const { return omitted_; }
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  int64_t slice_end_ns_ = 0;
  uint32_t slice_asked_ = 0;
  bool slice_spent_ = false;
  bool left_out_ = false;
  bool omitted_ = false;
  Successor successor_;
  std::vector<std::string> notes_;
  capnp::MallocMessageBuilder message_;
  bool has_root_ = false;
  std::vector<CarriedFd> fds_;
};

// Where rehydration gets its fds from: the escrow, or stand-ins in a rehearsal, or a test.
class FdSource {
 public:
  virtual ~FdSource() = default;
  // The fd carried under (component, role, number), CLOEXEC, owned by the caller from now on.
  // NotFound: no such fd was carried. FailedPrecondition: it was taken before.
  virtual absl::StatusOr<UniqueFd> Take(std::string_view component, std::string_view role,
                                        uint64_t number) = 0;
  // The numbers carried under (component, role) and not yet taken, ascending.
  virtual std::vector<uint64_t> Numbers(std::string_view component,
                                        std::string_view role) const = 0;
};

// What a component is rebuilt from. Lives for one Rehydrate call; not thread-safe.
class ImportContext {
 public:
  ImportContext(std::string component, uint32_t schema_version, capnp::MessageReader* message,
                FdSource* fds, bool rehearsal)
      : component_(std::move(component)),
        schema_version_(schema_version),
        message_(message),
        fds_(fds),
        rehearsal_(rehearsal) {}

  // The root that Export wrote, read in place: valid until Rehydrate returns. DataLoss when the
  // component wrote none.
  template <typename Schema>
  absl::StatusOr<typename Schema::Reader> Root() {
    if (message_ == nullptr) return NoRoot();
    return message_->getRoot<Schema>();
  }
  bool has_root() const { return message_ != nullptr; }

  // Takes a carried fd; each can be taken once. What nobody takes is reported and closed at commit.
  absl::StatusOr<UniqueFd> TakeFd(std::string_view role, uint64_t number = 0) {
    return fds_->Take(component_, role, number);
  }
  std::vector<uint64_t> FdNumbers(std::string_view role) const {
    return fds_->Numbers(component_, role);
  }

  // The schema version of the program that wrote the image (see LIVEEXEC_COMPONENT).
  uint32_t schema_version() const { return schema_version_; }

  // True in a rehearsal: the fds are stand-ins of the same kinds, nobody is at their other ends,
  // and the process ends after SelfCheck. Most components need not care.
  bool rehearsal() const { return rehearsal_; }

  // For memory that nobody may write before the commit: notes where it is, so that the operator is
  // told when somebody did. Addresses; any number of ranges.
  void NoteProtected(uint64_t begin, uint64_t end);
  // For the framework: the smallest range that has them all; empty when there are none.
  uint64_t protected_begin() const { return protected_begin_; }
  uint64_t protected_end() const { return protected_end_; }

 private:
  absl::Status NoRoot() const;

  std::string component_;
  uint32_t schema_version_;
  capnp::MessageReader* message_;
  FdSource* fds_;
  bool rehearsal_;
  uint64_t protected_begin_ = 0;
  uint64_t protected_end_ = 0;
};

class Component {
 public:
  virtual ~Component() = default;

  // The same in every version of the program; unique within it; 1 to 64 of [a-z0-9_-].
  virtual std::string_view name() const = 0;

  // There is no earlier state: a fresh start, or the old program did not have this component.
  virtual absl::Status Initialize() { return absl::OkStatus(); }

  // Ahead of the blackout, while the program serves on (no thread is parked): do what would
  // otherwise take time in it, in slices between the loop's other events, and keep what clients see
  // as it was. Call `done`, once, on any thread, when there is no more to do ahead; it does nothing
  // when it comes too late. An error abandons the upgrade (E_GUARD unless it has a code of its
  // own). The rehearsal is over then, so the upgrade will most likely happen. A state that is too
  // large for the blackout is written here: bulk_writer.h. `successor` is borrowed for the call.
  virtual void Precopy(const Successor& successor, absl::AnyInvocable<void(absl::Status) &&> done) {
    (void)successor;
    std::move(done)(absl::OkStatus());
  }
  // The upgrade was abandoned: undo what Precopy did. Also when `done` has not been called yet, and
  // after Resume when it had come to Quiesce. Main executor's thread, no thread is parked.
  virtual void AbandonPrecopy() {}

  // Stop starting work. Undone by Resume. From here until then carried handles refuse use
  // (FailedPrecondition).
  virtual absl::Status Quiesce() { return absl::OkStatus(); }
  virtual absl::Status Export(ExportContext& context) const = 0;
  // The upgrade was abandoned: go on as before. Called only after a Quiesce, also one that failed.
  virtual void Resume() {}

  virtual absl::Status Rehydrate(ImportContext& context) = 0;
  // The application's own check of what it rehydrated; an error rolls the upgrade back.
  virtual absl::Status SelfCheck() { return absl::OkStatus(); }
  // Committed, and no component is active yet: take possession of what was handed over. It must not
  // fail. Not in a fresh start.
  virtual void Committed() {}
  // Committed, or started fresh: serve.
  virtual void Activate() {}
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_COMPONENT_H_
