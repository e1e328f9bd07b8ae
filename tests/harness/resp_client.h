// RespClient: one connection to a RESP server, used step by step from a test.
//
//   auto client = RespClient::Open(Endpoint::Tcp(port)).value();
//   EXPECT_EQ(client->Call({"SET", "k", "v"}), "OK");
//   client->Send({"BLPOP", "list", "0"});          // blocks: the reply is taken later
//   ...
//   EXPECT_EQ(client->Receive(), "[list, x]");
//
// Replies are given as text (RespValue::ToString), failures of the connection as "(connection)
// ...", so that an expectation shows what came instead. ReceiveValue gives the value itself.
#ifndef LIVEEXEC_TESTS_HARNESS_RESP_CLIENT_H_
#define LIVEEXEC_TESTS_HARNESS_RESP_CLIENT_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/unique_fd.h"
#include "tests/harness/endpoint.h"
#include "tests/harness/resp.h"

namespace liveexec::harness {

class RespClient {
 public:
  static absl::StatusOr<std::unique_ptr<RespClient>> Open(const Endpoint& endpoint,
                                                          const DialOptions& options = {});

  std::string Call(const std::vector<std::string>& command);
  absl::Status Send(const std::vector<std::string>& command) {
    return SendRaw(RespCommand(command));
  }
  // Any bytes, half a command for example.
  absl::Status SendRaw(std::string_view bytes);
  std::string Receive(absl::Duration timeout = absl::Seconds(60));
  absl::StatusOr<RespValue> ReceiveValue(absl::Duration timeout = absl::Seconds(60));
  // Whether nothing at all has come for us to read, now.
  bool Silent();
  // No more requests will come from us; replies still may.
  void FinishSending();

  std::string local_name() const { return LocalName(fd_.get()); }

 private:
  explicit RespClient(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
  RespParser parser_;
};

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_RESP_CLIENT_H_
