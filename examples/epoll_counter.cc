// A server without libuv: plain epoll, one listener, and a counter that every client sees go up.
//
//   epoll_counter PORT CONTROL     then: nc 127.0.0.1 PORT, and type lines
//   liveexec upgrade --control CONTROL
//
// It shows what an event loop of your own needs: an Executor (here 40 lines over an eventfd) and a
// Component that carries its fds and its state.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/unique_fd.h"
#include "examples/counter.capnp.h"
#include "handoff/component.h"
#include "handoff/executor.h"
#include "handoff/program_note.h"
#include "handoff/upgrader.h"

LIVEEXEC_APPLICATION("epoll-counter", "1.0.0");
LIVEEXEC_COMPONENT("counter", 1, 1);

namespace {

using liveexec::UniqueFd;

class EpollLoop : public liveexec::Executor {
 public:
  EpollLoop()
      : epoll_(epoll_create1(EPOLL_CLOEXEC)), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    Add(wake_.get());
  }

  bool Add(int fd) {
    epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
    return epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
  }

  void Post(absl::AnyInvocable<void() &&> task) override {
    {
      std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    eventfd_write(wake_.get(), 1);
  }

  // Optional: with it, the framework needs no thread of its own while nothing is being upgraded.
  bool Watch(int fd, std::function<void()> on_readable) override {
    guest_ = fd;
    on_guest_ = std::move(on_readable);
    return Add(fd);
  }
  void Unwatch() override {
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, std::exchange(guest_, -1), nullptr);
  }

  template <typename OnReadable>
  void Run(OnReadable on_readable) {
    while (true) {
      epoll_event events[64];
      int count = epoll_wait(epoll_.get(), events, 64, -1);
      for (int i = 0; i < count; ++i) {
        if (events[i].data.fd == wake_.get()) {
          RunTasks();
        } else if (events[i].data.fd == guest_) {
          on_guest_();
        } else {
          on_readable(events[i].data.fd);
        }
      }
    }
  }

 private:
  void RunTasks() {
    eventfd_t count;
    eventfd_read(wake_.get(), &count);
    std::vector<absl::AnyInvocable<void() &&>> tasks;
    {
      std::lock_guard lock(mutex_);
      tasks.swap(tasks_);
    }
    for (auto& task : tasks) std::move(task)();
  }

  UniqueFd epoll_, wake_;
  int guest_ = -1;  // borrowed
  std::function<void()> on_guest_;
  std::mutex mutex_;
  std::vector<absl::AnyInvocable<void() &&>> tasks_;
};

class CounterServer : public liveexec::Component {
 public:
  CounterServer(EpollLoop& loop, uint16_t port) : loop_(loop), port_(port) {}

  std::string_view name() const override { return "counter"; }

  absl::Status Initialize() override {
    listener_ = UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    int on = 1;
    setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    sockaddr_in address = {.sin_family = AF_INET,
                           .sin_port = htons(port_),
                           .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    if (bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
        listen(listener_.get(), SOMAXCONN) != 0) {
      return liveexec::ErrnoError(errno, "listen");
    }
    return absl::OkStatus();
  }

  absl::Status Export(liveexec::ExportContext& context) const override {
    context.InitRoot<examples::Counter>().setValue(value_);
    LIVEEXEC_RETURN_IF_ERROR(context.CarryFd("listener", listener_.get()));
    for (const auto& [fd, client] : clients_) {
      LIVEEXEC_RETURN_IF_ERROR(context.CarryFd("client", static_cast<uint64_t>(fd), fd));
    }
    return absl::OkStatus();
  }

  absl::Status Rehydrate(liveexec::ImportContext& context) override {
    LIVEEXEC_ASSIGN_OR_RETURN(auto image, context.Root<examples::Counter>());
    value_ = image.getValue();
    LIVEEXEC_ASSIGN_OR_RETURN(listener_, context.TakeFd("listener"));
    for (uint64_t number : context.FdNumbers("client")) {
      LIVEEXEC_ASSIGN_OR_RETURN(UniqueFd client, context.TakeFd("client", number));
      clients_[client.get()] = std::move(client);
    }
    return absl::OkStatus();
  }

  void Activate() override {
    loop_.Add(listener_.get());
    for (const auto& [fd, client] : clients_) loop_.Add(fd);
  }

  void OnReadable(int fd) {
    if (fd == listener_.get()) {
      UniqueFd client(accept4(fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!client) return;
      loop_.Add(client.get());
      clients_[client.get()] = std::move(client);
      return;
    }
    char line[256];
    ssize_t count = read(fd, line, sizeof(line));
    if (count == 0 || (count < 0 && errno != EAGAIN)) {
      clients_.erase(fd);
      return;
    }
    if (count > 0) dprintf(fd, "%llu\n", static_cast<unsigned long long>(++value_));
  }

 private:
  EpollLoop& loop_;
  uint16_t port_;
  uint64_t value_ = 0;
  UniqueFd listener_;
  std::map<int, UniqueFd> clients_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: %s PORT CONTROL\n", argv[0]);
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  EpollLoop loop;
  CounterServer server(loop, static_cast<uint16_t>(atoi(argv[1])));
  auto upgrader = liveexec::Upgrader::Create(loop, {.control_socket = argv[2]});
  absl::Status status = upgrader.status();
  if (status.ok()) status = (*upgrader)->Register(server);
  if (status.ok()) status = (*upgrader)->Start();
  if (!status.ok()) {
    fprintf(stderr, "%s\n", status.ToString().c_str());
    return 1;
  }
  printf("serving, generation %llu\n", static_cast<unsigned long long>((*upgrader)->generation()));
  fflush(stdout);
  loop.Run([&](int fd) { server.OnReadable(fd); });
}
