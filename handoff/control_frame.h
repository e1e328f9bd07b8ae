// The control socket's messages as plain values, and their frames.
//
// A frame is a little-endian 32-bit length, then that many bytes of a Cap'n Proto flat array
// (handoff/control.capnp). Decoding never trusts the bytes: malformed ones are InvalidArgument with
// the code E_PROTO, no exception leaves this file. Pure functions of their arguments; any thread.
#ifndef LIVEEXEC_HANDOFF_CONTROL_FRAME_H_
#define LIVEEXEC_HANDOFF_CONTROL_FRAME_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "handoff/journal.h"
#include "handoff/program_note.h"

namespace liveexec {

// The longest frames, length prefix excluded, in bytes. A journal is the longest that a server
// sends.
inline constexpr size_t kMaxRequestFrame = size_t{1} << 20;
inline constexpr size_t kMaxResponseFrame = size_t{16} << 20;

struct ControlUpgrade {
  std::string binary;                                  // empty: the server's own default
  absl::Duration max_blackout = absl::ZeroDuration();  // zero: the server's own budget
  bool allow_downgrade = false;                        // to a lower security epoch
  std::string sha256;                                  // refuse any other file; empty: any
  bool to_previous = false;                            // instead of `binary`: the program before
};
struct ControlStatusRequest {};
struct ControlHistoryRequest {
  uint32_t limit = 0;  // the newest so many; 0 for all
};
struct ControlCancel {};    // the upgrade under way, if it is before exec
struct ControlRollback {};  // to the program before this one
struct ControlDoctor {};    // what would not survive an upgrade

struct ControlRequest {
  uint64_t id = 0;  // the client's; every response to it repeats it
  std::variant<ControlStatusRequest, ControlHistoryRequest, ControlUpgrade, ControlCancel,
               ControlRollback, ControlDoctor>
      body;
};

struct ControlProgress {
  enum class State : uint16_t { kStarted = 0, kFinished = 1 };
  std::string phase;  // PhaseName()
  State state = State::kStarted;
  int64_t duration_ns = 0;  // 0 when started
  std::string detail;       // "12 components, 31 fds"; may be empty
};

struct ControlStatus {
  ProgramNote program;
  uint32_t pid = 0;
  uint64_t generation = 0;              // upgrades committed by this process
  int64_t started_unix_ns = 0;          // the process
  int64_t program_started_unix_ns = 0;  // the program it runs now
  uint32_t threads = 0;                 // registered with the upgrader, the main one included
  std::string phase;                    // of the upgrade under way; empty: idle
  std::optional<JournalEntry> last_result;
  std::string upgrade_binary;
  std::string control_path;
};

struct ControlError {
  std::string code;     // "E_BUSY"
  std::string message;  // one sentence
};
struct ControlDone {};
struct ControlDoctorReport {
  std::string text;
};

struct ControlResponse {
  uint64_t id = 0;  // of the request; 0 when that could not be read
  std::variant<ControlError, ControlProgress, JournalEntry, ControlStatus,
               std::vector<JournalEntry>, ControlDone, ControlDoctorReport>
      body;
};

// Whole frames, length prefix included. Always within the limits above: a history's oldest entries
// give way.
std::string EncodeFrame(const ControlRequest& request);
std::string EncodeFrame(const ControlResponse& response);

// The inverse, of a frame without its prefix.
absl::StatusOr<ControlRequest> DecodeRequest(std::string_view frame);
absl::StatusOr<ControlResponse> DecodeResponse(std::string_view frame);

// Cuts a stream of bytes into frames.
class FrameBuffer {
 public:
  explicit FrameBuffer(size_t max_frame) : max_frame_(max_frame) {}

  void Append(std::string_view bytes) { bytes_.append(bytes); }

  // The next whole frame without its prefix, nothing when it has not arrived yet. InvalidArgument
  // (E_PROTO) when its length is 0, or over the limit: then the stream is lost.
  absl::StatusOr<std::optional<std::string>> Next();

  // Makes `frame`, which was the last one that Next returned, the next one again.
  void PutBack(std::string_view frame);

  bool empty() const { return bytes_.empty(); }
  const std::string& bytes() const { return bytes_; }

 private:
  size_t max_frame_;
  std::string bytes_;
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_CONTROL_FRAME_H_
