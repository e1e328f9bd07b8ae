// An existing libuv server, carried as it is: it keeps its own uv_tcp_t, uv_timer_t and uv_write.
//
//   raw_echo PORT CONTROL    then: liveexec upgrade --control CONTROL
//
// What was added to the server is the class Carried and main()'s lines about the Upgrader.
#include <netinet/in.h>
#include <signal.h>
#include <uv.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "core/error.h"
#include "examples/raw_echo.capnp.h"
#include "handoff/component.h"
#include "handoff/program_note.h"
#include "handoff/upgrader.h"
#include "handoff/uv/loop_executor.h"
#include "handoff/uv/raw_handles.h"

LIVEEXEC_APPLICATION("raw-echo", "1.0.0");
LIVEEXEC_COMPONENT("server", 1, 1);

namespace {

// The server as it was.

struct Server;

struct Client {
  uv_tcp_t tcp;
  uint64_t number;
  Server* server;
};

struct Server {
  uv_loop_t* loop;
  uv_tcp_t listener;
  uv_timer_t report;
  std::map<uint64_t, Client*> clients;
  uint64_t next_number = 1;
};

int PortOf(const uv_tcp_t* tcp) {
  sockaddr_in address = {};
  int size = sizeof(address);
  uv_tcp_getsockname(tcp, reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

uv_stream_t* AsStream(uv_tcp_t* tcp) { return reinterpret_cast<uv_stream_t*>(tcp); }

void CloseClient(Client* client) {
  client->server->clients.erase(client->number);
  uv_close(reinterpret_cast<uv_handle_t*>(&client->tcp),
           [](uv_handle_t* handle) { delete static_cast<Client*>(handle->data); });
}

struct Write {
  uv_write_t request;
  std::string bytes;
};

void Send(Client* client, std::string bytes) {
  auto* write = new Write{{}, std::move(bytes)};
  write->request.data = write;
  uv_buf_t buffer = uv_buf_init(write->bytes.data(), static_cast<unsigned>(write->bytes.size()));
  int error = uv_write(&write->request, AsStream(&client->tcp), &buffer, 1,
                       [](uv_write_t* done, int) { delete static_cast<Write*>(done->data); });
  if (error != 0) delete write;
}

void OnRead(uv_stream_t* stream, ssize_t count, const uv_buf_t* buffer) {
  auto* client = static_cast<Client*>(stream->data);
  if (count > 0) Send(client, std::string(buffer->base, static_cast<size_t>(count)));
  delete[] buffer->base;
  if (count < 0) CloseClient(client);
}

void StartReading(Client* client) {
  uv_read_start(
      AsStream(&client->tcp),
      [](uv_handle_t*, size_t size, uv_buf_t* buffer) {
        *buffer = uv_buf_init(new char[size], static_cast<unsigned>(size));
      },
      OnRead);
}

Client* AddClient(Server* server, uint64_t number) {
  auto* client = new Client{{}, number, server};
  client->tcp.data = client;
  server->clients[number] = client;
  return client;
}

void OnConnection(uv_stream_t* listener, int status) {
  auto* server = static_cast<Server*>(listener->data);
  if (status < 0) return;
  Client* client = AddClient(server, server->next_number++);
  uv_tcp_init(server->loop, &client->tcp);
  if (uv_accept(listener, AsStream(&client->tcp)) != 0) {
    CloseClient(client);
    return;
  }
  StartReading(client);
}

void Report(uv_timer_t* timer) {
  printf("%zu clients\n", static_cast<Server*>(timer->data)->clients.size());
  fflush(stdout);
}
constexpr uint64_t kReportMs = 60'000;

// What makes it survive. [carried]

class Carried : public liveexec::Component {
 public:
  explicit Carried(Server& server, int port) : server_(server), port_(port) {}

  std::string_view name() const override { return "server"; }

  absl::Status Initialize() override {  // a fresh start
    sockaddr_in address;
    uv_ip4_addr("127.0.0.1", port_, &address);
    uv_tcp_init(server_.loop, &server_.listener);
    int error = uv_tcp_bind(&server_.listener, reinterpret_cast<sockaddr*>(&address), 0);
    if (error != 0) return liveexec::ErrnoError(-error, "bind");
    uv_timer_start(&server_.report, Report, kReportMs, kReportMs);
    return absl::OkStatus();
  }

  absl::Status Export(liveexec::ExportContext& context) const override {
    auto image = context.InitRoot<examples::RawEcho>();
    image.setNextNumber(server_.next_number);
    image.setReportDeadlineNs(liveexec::uv::TimerDeadline(&server_.report));
    LIVEEXEC_RETURN_IF_ERROR(Carry(context, "listener", 0, server_.listener));
    auto list = image.initClients(static_cast<unsigned>(server_.clients.size()));
    unsigned i = 0;
    for (const auto& [number, client] : server_.clients) {
      LIVEEXEC_RETURN_IF_ERROR(Carry(context, "client", number, client->tcp));
      LIVEEXEC_ASSIGN_OR_RETURN(std::string unsent,
                                liveexec::uv::UnsentBytes(AsStream(&client->tcp)));
      list[i].setNumber(number);
      list[i++].setUnsent({reinterpret_cast<const uint8_t*>(unsent.data()), unsent.size()});
    }
    return absl::OkStatus();
  }

  absl::Status Rehydrate(liveexec::ImportContext& context) override {
    LIVEEXEC_ASSIGN_OR_RETURN(auto image, context.Root<examples::RawEcho>());
    server_.next_number = image.getNextNumber();
    LIVEEXEC_RETURN_IF_ERROR(
        liveexec::uv::AdoptTcp(context, "listener", 0, server_.loop, &server_.listener));
    for (auto saved : image.getClients()) {
      Client* client = AddClient(&server_, saved.getNumber());
      LIVEEXEC_RETURN_IF_ERROR(
          liveexec::uv::AdoptTcp(context, "client", client->number, server_.loop, &client->tcp));
      auto unsent = saved.getUnsent();
      unsent_[client] = std::string(unsent.begin(), unsent.end());
    }
    return liveexec::uv::StartTimerAt(&server_.report, image.getReportDeadlineNs(), kReportMs,
                                      Report);
  }

  void Activate() override {  // committed, or a fresh start
    server_.listener.data = &server_;
    uv_listen(AsStream(&server_.listener), 128, OnConnection);
    for (const auto& [number, client] : server_.clients) StartReading(client);
    for (auto& [client, bytes] : unsent_) {
      if (!bytes.empty()) Send(client, std::move(bytes));
    }
    unsent_.clear();
  }

 private:
  static absl::Status Carry(liveexec::ExportContext& context, std::string_view role,
                            uint64_t number, const uv_tcp_t& tcp) {
    return liveexec::uv::CarryHandle(context, role, number,
                                     reinterpret_cast<const uv_handle_t*>(&tcp));
  }

  Server& server_;
  const int port_;
  std::map<Client*, std::string> unsent_;
};
// [/carried]

// [main]
absl::Status Serve(int port, const char* control) {
  Server server{.loop = uv_default_loop()};
  uv_timer_init(server.loop, &server.report);
  server.report.data = &server;
  liveexec::uv::LoopExecutor executor(server.loop);
  // Writes whose bytes Export takes along need not be waited for.
  executor.SetCarriedOperations([&server] {
    int writes = 0;
    for (const auto& [number, client] : server.clients) {
      writes += liveexec::uv::UnsentWrites(AsStream(&client->tcp));
    }
    return writes;
  });
  LIVEEXEC_ASSIGN_OR_RETURN(auto upgrader,
                            liveexec::Upgrader::Create(executor, {.control_socket = control}));
  Carried carried(server, port);
  LIVEEXEC_RETURN_IF_ERROR(upgrader->Register(carried));
  LIVEEXEC_RETURN_IF_ERROR(upgrader->Start());
  printf("listening on tcp 127.0.0.1:%d\n", PortOf(&server.listener));
  fflush(stdout);
  uv_run(server.loop, UV_RUN_DEFAULT);
  return absl::OkStatus();
}
// [/main]

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: %s PORT CONTROL\n", argv[0]);
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  absl::Status status = Serve(atoi(argv[1]), argv[2]);
  fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}
