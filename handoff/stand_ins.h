// Stand-ins: fds of the same kinds as the carried ones, with nobody at their other ends.
//
// A rehearsal never gets the server's own fds: O_NONBLOCK and file offsets belong to the open file
// description, which a duplicate would share, and a stray read would eat a client's bytes. So the
// candidate makes its own, each when it is taken. Memory files that a component lends are opened
// anew, for reading, by the server.
#ifndef LIVEEXEC_HANDOFF_STAND_INS_H_
#define LIVEEXEC_HANDOFF_STAND_INS_H_

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/unique_fd.h"
#include "handoff/component.h"
#include "handoff/fd_table.h"

namespace liveexec {

// A new fd of `kind`, CLOEXEC. `with_peer`: streams are connected to a peer, which is kept in
// `peers`, and datagram sockets have an address. Errors carry the errno.
absl::StatusOr<UniqueFd> MakeStandIn(FdKind kind, bool with_peer, std::vector<UniqueFd>& peers);

// Hands out a stand-in for each entry of the table, once; for entries that are lent, the one of
// `lent` (as those entries, in order). Not thread-safe.
class StandInFds : public FdSource {
 public:
  explicit StandInFds(std::vector<FdEntry> entries, std::vector<UniqueFd> lent = {});

  absl::StatusOr<UniqueFd> Take(std::string_view component, std::string_view role,
                                uint64_t number) override;
  std::vector<uint64_t> Numbers(std::string_view component, std::string_view role) const override;

 private:
  std::vector<FdEntry> entries_;
  std::vector<bool> taken_;
  absl::flat_hash_map<size_t, UniqueFd> lent_;                   // by index
  absl::flat_hash_map<std::string, std::vector<size_t>> roles_;  // indexes, ascending by number
  std::vector<UniqueFd> peers_;
  size_t connected_ = 0;
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_STAND_INS_H_
