// State recordings: what a running server would hand to its next program, kept in files, so that
// later programs can prove that they still read it.
//
//   RecordState(server.File("control"), "tests/compat/recorder", "golden/1.2.0/my-server");
//   ... a year later ...
//   absl::Status read = ReadRecordedState("golden/1.2.0/my-server", "/path/to/my-server");
//
// Recording is a rehearsal: the server is asked to upgrade to a program that calls itself the same,
// copies the images that it is shown, and refuses. The server serves on, and needs no preparation
// for it. Reading is a rehearsal too: the program is shown the recorded images, and stand-ins for
// the recorded fds, and must rebuild everything and check itself, as before any upgrade. So what
// reads is the program as it is shipped, not a test of it.
//
// A recording is a directory: manifest.image and COMPONENT.image, in the format of
// docs/protocol.md. It holds what the server held, secrets included: record a server that was
// filled for the purpose.
#ifndef LIVEEXEC_TESTS_COMPAT_STATE_RECORDING_H_
#define LIVEEXEC_TESTS_COMPAT_STATE_RECORDING_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace liveexec::compat {

inline constexpr absl::Duration kRehearsalPatience = absl::Seconds(60);

// Records the server at control socket `control` into `directory`, which is made; `recorder` is the
// program of tests/compat:recorder. Returns the names of the recorded components. Errors are the
// server's, with its code.
absl::StatusOr<std::vector<std::string>> RecordState(const std::string& control,
                                                     const std::string& recorder,
                                                     const std::string& directory);

// Shows the recording to `binary`. Ok: it rebuilt everything. Else its own words, with their code:
// E_SCHEMA, E_APP, E_REHEARSAL; or NotFound, DataLoss for a recording that is not whole.
absl::Status ReadRecordedState(const std::string& directory, const std::string& binary);

}  // namespace liveexec::compat

#endif  // LIVEEXEC_TESTS_COMPAT_STATE_RECORDING_H_
