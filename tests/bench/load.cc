#include "tests/bench/load.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/unique_fd.h"
#include "tests/bench/connections.h"
#include "tests/bench/exec_probe.h"

namespace liveexec::bench {
namespace {

constexpr int64_t kMillisecond = 1'000'000;
// After a failure, also for busy connections: a server that is away is not to be flooded.
constexpr int64_t kRetry = kMillisecond;
constexpr int64_t kPatience = 60'000 * kMillisecond;
constexpr int64_t kProbeEvery = kMillisecond / 2;
constexpr uint32_t kInput = UINT32_MAX;  // epoll data of standard input

struct Reply {
  size_t size = 0;     // bytes on the wire
  bool good = false;   // not an error
  bool last = false;   // the server says that it closes the connection now
  std::string server;  // what it says about who served it
};

// A whole reply at the front of `bytes`, if there is one.
std::optional<Reply> ParseResp(std::string_view bytes) {
  const size_t end = bytes.find("\r\n");
  if (end == std::string_view::npos) return std::nullopt;
  return Reply{end + 2, bytes[0] == '+', false, ""};
}

std::optional<Reply> ParseHttp(std::string_view bytes) {
  const size_t head = bytes.find("\r\n\r\n");
  if (head == std::string_view::npos) return std::nullopt;
  std::string lower(bytes.substr(0, head));
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(tolower(c)); });
  const size_t field = lower.find("content-length:");
  const size_t length =
      field == std::string::npos
          ? 0
          : strtoul(lower.c_str() + field + strlen("content-length:"), nullptr, 10);
  if (bytes.size() < head + 4 + length) return std::nullopt;
  return Reply{head + 4 + length, lower.find(" 200") != std::string::npos,
               lower.find("connection: close") != std::string::npos,
               std::string(bytes.substr(head + 4, length))};
}

struct Connection {
  UniqueFd fd;
  bool busy = false;
  bool waiting = false;  // a request is under way
  bool made_anew = false;
  bool served_by_new = false;
  bool answered = false;  // at all
  int64_t due_ns = 0;     // of the next request
  int64_t sent_ns = 0;
  std::string received;
};

struct Counts {
  int64_t begin_ns = 0;
  int64_t last_good_ns = 0;
  int64_t worst_ns = 0;
  int64_t outage_ns = 0;
  int64_t all_new_ns = -1;
  uint64_t requests = 0;
  uint64_t failed = 0;
  uint64_t dropped = 0;
};

class Load {
 public:
  explicit Load(const LoadOptions& options)
      : options_(options), http_(options.protocol == "http"), probe_(options.pid) {
    request_ = http_ ? "GET / HTTP/1.1\r\nHost: bench\r\n\r\n" : "PING\r\n";
  }

  absl::Status Run() {
    const size_t count = options_.busy + options_.paced;
    LIVEEXEC_RETURN_IF_ERROR(AllowConnections(count));
    epoll_.reset(epoll_create1(EPOLL_CLOEXEC));
    connections_.resize(count);
    Watch(STDIN_FILENO, kInput);
    const int64_t now = MonotonicNs();
    for (size_t i = 0; i < count; ++i) {
      connections_[i].busy = i < options_.busy;
      // Spread over the pace.
      connections_[i].due_ns = now + static_cast<int64_t>(i) * options_.pace_ms * kMillisecond /
                                         static_cast<int64_t>(count);
      if (!Connect(i)) return absl::UnavailableError("cannot connect");
    }
    counts_.begin_ns = counts_.last_good_ns = now;
    while (!ended_) {
      Turn();
      if (answered_ < count && MonotonicNs() - now > kPatience) {
        return absl::DeadlineExceededError("not every connection gets an answer");
      }
    }
    return absl::OkStatus();
  }

 private:
  void Watch(int fd, uint32_t data) {
    epoll_event event{.events = EPOLLIN, .data = {.u32 = data}};
    epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  }

  bool Connect(size_t i) {
    absl::StatusOr<UniqueFd> fd = ConnectTo(options_.port, i);
    if (!fd.ok()) return false;
    fcntl(fd->get(), F_SETFL, O_NONBLOCK);
    Connection& connection = connections_[i];
    connection.fd = *std::move(fd);
    connection.received.clear();
    Watch(connection.fd.get(), static_cast<uint32_t>(i));
    return true;
  }

  // Events, then what is due. Paced requests are looked for every half millisecond at most.
  void Turn() {
    epoll_event events[256];
    const int count = epoll_wait(epoll_.get(), events, 256, 1);
    for (int i = 0; i < count; ++i) {
      if (events[i].data.u32 == kInput) {
        Obey();
      } else {
        Receive(events[i].data.u32);
      }
    }
    const int64_t now = MonotonicNs();
    if (now - last_look_ns_ < kMillisecond / 2) return;
    last_look_ns_ = now;
    for (size_t i = 0; i < connections_.size(); ++i) {
      if (!connections_[i].waiting && connections_[i].due_ns <= now) Send(i, now);
    }
  }

  void Send(size_t i, int64_t now) {
    Connection& connection = connections_[i];
    ++counts_.requests;
    connection.due_ns =
        std::max(connection.due_ns + options_.pace_ms * kMillisecond, now);  // of the next
    if (!connection.fd) {
      if (!Connect(i)) return Fail(i);
      connection.made_anew = true;
    }
    if (send(connection.fd.get(), request_.data(), request_.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(request_.size())) {
      Drop(i);
      return Fail(i);
    }
    connection.waiting = true;
    connection.sent_ns = now;
  }

  void Drop(size_t i) {
    ++counts_.dropped;
    connections_[i].fd.reset();
  }

  void Fail(size_t i) {
    Connection& connection = connections_[i];
    ++counts_.failed;
    connection.waiting = false;
    if (connection.busy) connection.due_ns = MonotonicNs() + kRetry;
  }

  void Receive(size_t i) {
    Connection& connection = connections_[i];
    if (!connection.fd) return;
    char bytes[4096];
    const ssize_t size = recv(connection.fd.get(), bytes, sizeof(bytes), 0);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) {
      Drop(i);
      if (connection.waiting) Fail(i);
      return;
    }
    connection.received.append(bytes, static_cast<size_t>(size));
    const std::optional<Reply> reply =
        http_ ? ParseHttp(connection.received) : ParseResp(connection.received);
    if (!reply) return;
    connection.received.erase(0, reply->size);
    const int64_t now = MonotonicNs();
    if (!connection.waiting || !reply->good) return Fail(i);
    connection.waiting = false;
    NoteGood(connection, *reply, now);
    if (reply->last) Drop(i);
    if (connection.busy) Send(i, now);
  }

  void NoteGood(Connection& connection, const Reply& reply, int64_t now) {
    counts_.worst_ns = std::max(counts_.worst_ns, now - connection.sent_ns);
    counts_.outage_ns = std::max(counts_.outage_ns, now - counts_.last_good_ns);
    counts_.last_good_ns = now;
    if (!connection.answered) {
      connection.answered = true;
      if (++answered_ == connections_.size()) {
        std::cout << nlohmann::json{{"ready", answered_}} << std::endl;
      }
    }
    if (!counting_) {
      servers_before_.insert(reply.server);
      return;
    }
    if (connection.served_by_new || !FromNew(reply, now)) return;
    connection.served_by_new = true;
    if (++served_by_new_ == connections_.size()) counts_.all_new_ns = now - counts_.begin_ns;
  }

  bool FromNew(const Reply& reply, int64_t now) {
    if (http_) return servers_before_.count(reply.server) == 0;
    if (!changed_ && now - last_probe_ns_ > kProbeEvery) {
      last_probe_ns_ = now;
      // What is under way may still be the old one's: it counts from the next reply on.
      changed_ = probe_.Changed();
      return false;
    }
    return changed_;
  }

  void Obey() {
    char bytes[256];
    const ssize_t size = read(STDIN_FILENO, bytes, sizeof(bytes));
    if (size <= 0) {
      ended_ = true;
      return;
    }
    commands_.append(bytes, static_cast<size_t>(size));
    for (size_t end; (end = commands_.find('\n')) != std::string::npos;) {
      const std::string command = commands_.substr(0, end);
      commands_.erase(0, end + 1);
      if (command == "begin") Begin();
      std::cout << (command == "end" ? Report()
                                     : nlohmann::json{{"all_new", counts_.all_new_ns >= 0}})
                << std::endl;
    }
  }

  void Begin() {
    counting_ = true;
    changed_ = false;
    probe_.Changed();
    served_by_new_ = 0;
    for (Connection& connection : connections_) connection.served_by_new = false;
    counts_ = {};
    counts_.begin_ns = MonotonicNs();
    counts_.last_good_ns = counts_.begin_ns;
  }

  nlohmann::json Report() {
    counting_ = false;
    const int64_t outage = std::max(counts_.outage_ns, MonotonicNs() - counts_.last_good_ns);
    return {{"requests", counts_.requests},
            {"failed", counts_.failed},
            {"dropped", counts_.dropped},
            {"worst_ns", counts_.worst_ns},
            {"outage_ns", outage},
            {"all_new_ns", counts_.all_new_ns},
            {"all_new", counts_.all_new_ns >= 0}};
  }

  const LoadOptions options_;
  const bool http_;
  ExecProbe probe_;
  std::string request_;
  UniqueFd epoll_;
  std::vector<Connection> connections_;
  std::string commands_;
  Counts counts_;
  std::set<std::string> servers_before_;
  size_t answered_ = 0;
  size_t served_by_new_ = 0;
  int64_t last_look_ns_ = 0;
  int64_t last_probe_ns_ = 0;
  bool counting_ = false;
  bool changed_ = false;
  bool ended_ = false;
};

}  // namespace

absl::Status RunLoad(const LoadOptions& options) { return Load(options).Run(); }

}  // namespace liveexec::bench
