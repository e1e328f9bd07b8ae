// Which fds this process has open: for budgets, and for the report of what was left behind.
#ifndef LIVEEXEC_HANDOFF_OPEN_FDS_H_
#define LIVEEXEC_HANDOFF_OPEN_FDS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "handoff/fd_table.h"

namespace liveexec {

struct OpenFd {
  int fd = -1;
  FdKind kind = FdKind::kUnknown;
  bool inheritable = false;  // not CLOEXEC
  uint64_t inode = 0;
};

// All of them but stdio, ascending. Errors carry the errno.
absl::StatusOr<std::vector<OpenFd>> ListOpenFds(Syscalls& syscalls, FdInspector& inspector);

// "17 eventfd" for each that is still open and not in `carried`, at most `limit`; then "and 3
// more", if there are.
std::vector<std::string> LeftBehind(absl::Span<const OpenFd> open, absl::Span<const int> carried,
                                    absl::FunctionRef<bool(int)> is_open, size_t limit);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_OPEN_FDS_H_
