// For the tests of the control socket: a directory, a driven server, a raw client, and a crossing
// in-process.
#ifndef LIVEEXEC_HANDOFF_CONTROL_TEST_UTIL_H_
#define LIVEEXEC_HANDOFF_CONTROL_TEST_UTIL_H_

#include <capnp/serialize.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/unique_fd.h"
#include "gtest/gtest.h"
#include "handoff/component.h"
#include "handoff/control_frame.h"
#include "handoff/control_server.h"

namespace liveexec {

// A directory of ours, 0700, removed with the sockets in it.
class TestDirectory {
 public:
  TestDirectory() {
    char name[] = "/tmp/lxXXXXXX";
    path_ = mkdtemp(name);
  }
  ~TestDirectory() {
    unlink(socket().c_str());
    rmdir(path_.c_str());
  }
  const std::string& path() const { return path_; }
  std::string socket() const { return path_ + "/control"; }

 private:
  std::string path_;
};

// Polls and handles once, for at most `wait`.
inline void Turn(ControlServer& server, absl::Duration wait = absl::Milliseconds(20)) {
  std::vector<pollfd> fds;
  server.AppendPollFds(fds);
  const absl::Duration timeout = std::min(wait, server.UntilDeadline());
  poll(fds.data(), fds.size(), static_cast<int>(absl::ToInt64Milliseconds(timeout)));
  server.Handle(fds);
}

// Drives `server` until `done`, for 10 s at most. Whether it was.
inline bool Drive(ControlServer& server, const std::function<bool()>& done) {
  const absl::Time deadline = absl::Now() + absl::Seconds(10);
  while (!done()) {
    if (absl::Now() > deadline) return false;
    Turn(server);
  }
  return true;
}

// Speaks bytes, not frames, so that a test can misbehave. Never blocks.
class RawClient {
 public:
  explicit RawClient(const std::string& path)
      : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    connected_ = connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  }

  bool connected() const { return connected_; }
  int fd() const { return fd_.get(); }
  void Close() { fd_.reset(); }

  // As many of the bytes as the kernel takes now.
  size_t Write(std::string_view bytes) {
    ssize_t count = send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    return count < 0 ? 0 : static_cast<size_t>(count);
  }
  size_t Write(const ControlRequest& request) { return Write(EncodeFrame(request)); }

  // Reads what is there; true when the server has closed.
  bool AtEnd() {
    char buffer[64 << 10];
    ssize_t count;
    while ((count = recv(fd_.get(), buffer, sizeof(buffer), 0)) > 0) {
      input_.Append({buffer, static_cast<size_t>(count)});
    }
    return count == 0 || (count < 0 && errno != EAGAIN);
  }

  // The next response that has arrived whole.
  std::optional<ControlResponse> Next() {
    AtEnd();
    auto frame = input_.Next();
    if (!frame.ok() || !frame->has_value()) return std::nullopt;
    auto response = DecodeResponse(**frame);
    EXPECT_TRUE(response.ok()) << response.status();
    if (!response.ok()) return std::nullopt;
    return *response;
  }

  // Drives `server` until a response is there.
  std::optional<ControlResponse> Await(ControlServer& server) {
    std::optional<ControlResponse> response;
    Drive(server, [&] { return (response = Next()).has_value(); });
    return response;
  }

  // The code of the next response, which is to be an error; "" otherwise.
  std::string AwaitError(ControlServer& server) {
    std::optional<ControlResponse> response = Await(server);
    if (!response) return "nothing came";
    const auto* error = std::get_if<ControlError>(&response->body);
    return error == nullptr ? "" : error->code;
  }

 private:
  UniqueFd fd_;
  bool connected_ = false;
  FrameBuffer input_{kMaxResponseFrame};
};

// The escrow of a crossing within one process: duplicates of what was carried.
class DuplicatedFds : public FdSource {
 public:
  void Add(const CarriedFd& carried) {
    fds_[{carried.role, carried.number}] = UniqueFd(fcntl(carried.fd, F_DUPFD_CLOEXEC, 0));
  }
  absl::StatusOr<UniqueFd> Take(std::string_view, std::string_view role, uint64_t number) override {
    auto entry = fds_.find({std::string(role), number});
    if (entry == fds_.end()) return absl::NotFoundError("no such fd");
    UniqueFd fd = std::move(entry->second);
    fds_.erase(entry);
    return fd;
  }
  std::vector<uint64_t> Numbers(std::string_view, std::string_view role) const override {
    std::vector<uint64_t> numbers;
    for (const auto& [key, fd] : fds_) {
      if (key.first == role) numbers.push_back(key.second);
    }
    return numbers;
  }
  size_t left() const { return fds_.size(); }

 private:
  std::map<std::pair<std::string, uint64_t>, UniqueFd> fds_;
};

enum class Crossing { kReal, kRehearsal };

// Exports `from`, which is quiesced, and rehydrates `to` from it.
inline absl::Status Cross(const ControlServer& from, ControlServer& to,
                          Crossing crossing = Crossing::kReal) {
  ExportContext exported;
  absl::Status status = from.Export(exported);
  if (!status.ok()) return status;
  DuplicatedFds fds;
  for (const CarriedFd& carried : exported.fds()) fds.Add(carried);
  kj::Array<capnp::word> words = capnp::messageToFlatArray(exported.message());
  capnp::FlatArrayMessageReader message(words);
  ImportContext context(std::string(to.name()), 1, &message, &fds,
                        crossing == Crossing::kRehearsal);
  status = to.Rehydrate(context);
  EXPECT_EQ(fds.left(), 0u);
  return status;
}

// Serves in a thread of its own, for clients that block.
class ServerThread {
 public:
  explicit ServerThread(ControlServer& server)
      : server_(server), stop_(eventfd(0, EFD_CLOEXEC)), thread_([this] { Run(); }) {}
  ~ServerThread() { Stop(); }

  void Stop() {
    if (!thread_.joinable()) return;
    const uint64_t one = 1;
    EXPECT_EQ(write(stop_.get(), &one, sizeof(one)), static_cast<ssize_t>(sizeof(one)));
    thread_.join();
  }

 private:
  void Run() {
    while (true) {
      std::vector<pollfd> fds = {{stop_.get(), POLLIN, 0}};
      server_.AppendPollFds(fds);
      const absl::Duration timeout = std::min(absl::Seconds(1), server_.UntilDeadline());
      poll(fds.data(), fds.size(), static_cast<int>(absl::ToInt64Milliseconds(timeout)));
      if (fds[0].revents != 0) return;
      server_.Handle(fds);
    }
  }

  ControlServer& server_;
  UniqueFd stop_;
  std::thread thread_;
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_CONTROL_TEST_UTIL_H_
