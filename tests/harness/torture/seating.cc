#include "tests/harness/torture/seating.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "tests/harness/clients.h"
#include "tests/harness/http_client.h"
#include "tests/harness/resp.h"
#include "tests/harness/resp_workers.h"
#include "tests/harness/script_client.h"
#include "tests/harness/udp_client.h"
#include "tests/harness/visitor.h"

namespace liveexec::harness {

namespace {

// With a little time to think, so that the load does not fill the machine: what is measured is the
// server's pause, not its queue.
constexpr absl::Duration kThink = absl::Milliseconds(4);
constexpr int kSharedKeys = 3;
constexpr int kSharedKeyClients = 6;
constexpr size_t kSlowBytes = 300'000;
constexpr char kChannel[] = "liveexec:news";

template <typename ClientType, typename... Arguments>
Load::Factory Makes(Arguments... arguments) {
  return [=](EventLoop& loop, std::string name, Random random) -> std::unique_ptr<Client> {
    return std::make_unique<ClientType>(loop, std::move(name), random, arguments...);
  };
}

absl::Status SeatVisitors(const TortureOptions& options, Load& load) {
  using Manner = Visitor::Manner;
  for (const auto& [manner, kind] : {std::pair(Manner::kWhole, "visitor"),
                                     std::pair(Manner::kHalfRequest, "half-request visitor"),
                                     std::pair(Manner::kHalfOpen, "half-open visitor"),
                                     std::pair(Manner::kKnock, "late visitor")}) {
    const auto make = [&options, manner = manner](EventLoop& loop, std::string name,
                                                  Random random) -> std::unique_ptr<Client> {
      Exchange exchange = AnyExchange(options, random);
      return std::make_unique<Visitor>(loop, std::move(name), random, manner, std::move(exchange));
    };
    // A server may end a half-open connection at once: that is a choice, not an upgrade's fault.
    if (manner == Manner::kHalfOpen && options.dialogue == Dialogue::kScript) continue;
    LIVEEXEC_RETURN_IF_ERROR(load.AddSeats(2, Rank::kVisitor, kind, make));
  }
  return absl::OkStatus();
}

absl::Status SeatEcho(const TortureOptions& options, Load& load) {
  const auto idle = [](EventLoop& loop, std::string name, Random random) {
    return std::make_unique<IdleClient>(loop, std::move(name), Protocol::kEcho, random);
  };
  const auto slow = [](EventLoop& loop, std::string name, Random random) {
    return std::make_unique<SlowTaker>(loop, std::move(name), Protocol::kEcho, random, kSlowBytes);
  };
  LIVEEXEC_RETURN_IF_ERROR(load.AddSeats(options.idle, Rank::kIdle, "idle client", idle));
  LIVEEXEC_RETURN_IF_ERROR(
      load.AddSeats(options.clients, Rank::kBusy, "checking client",
                    Makes<EchoClient>(CheckingOptions{.window = 2, .max_think = kThink})));
  LIVEEXEC_RETURN_IF_ERROR(
      load.AddSeats(2, Rank::kOther, "slow reader", slow, SlowTaker::Dialing()));
  return SeatVisitors(options, load);
}

absl::Status SeatResp(const TortureOptions& options, SharedState& shared, Load& load) {
  const auto idle = [](EventLoop& loop, std::string name, Random random) {
    return std::make_unique<IdleClient>(loop, std::move(name), Protocol::kResp, random);
  };
  const auto slow = [](EventLoop& loop, std::string name, Random random) {
    return std::make_unique<SlowTaker>(loop, std::move(name), Protocol::kResp, random, kSlowBytes);
  };
  const auto subscriber = [&shared](EventLoop& loop, std::string name, Random) {
    auto client =
        std::make_unique<Subscriber>(loop, std::move(name), std::vector<std::string>{kChannel},
                                     /*joins_midway=*/true);
    client->ExpectUpTo(shared.last_acknowledged);
    return client;
  };
  const auto timer = [&shared](EventLoop& loop, std::string name, Random random) {
    return std::make_unique<TimerClient>(loop, std::move(name), random, [&shared] {
      return static_cast<uint64_t>(shared.history.operations().size());
    });
  };
  const auto publisher = [&shared](EventLoop& loop, std::string name, Random random) {
    return std::make_unique<Publisher>(loop, std::move(name), random, kChannel,
                                       shared.last_published, shared.last_acknowledged);
  };
  LIVEEXEC_RETURN_IF_ERROR(load.AddSeats(options.idle, Rank::kIdle, "idle client", idle));
  LIVEEXEC_RETURN_IF_ERROR(
      load.AddSeats(options.clients, Rank::kBusy, "checking client",
                    Makes<RecordClient>(CheckingOptions{.window = 2, .max_think = kThink})));
  for (int i = 0; i < kSharedKeyClients; ++i) {
    const auto shared_key = [&shared, i](EventLoop& loop, std::string name, Random random) {
      return std::make_unique<SharedKeyClient>(loop, std::move(name), random, i, "liveexec",
                                               kSharedKeys, shared.history);
    };
    LIVEEXEC_RETURN_IF_ERROR(
        load.AddSeats(1, Rank::kBusy, absl::StrCat("shared-key client (", i, ")"), shared_key));
  }
  LIVEEXEC_RETURN_IF_ERROR(load.AddSeats(4, Rank::kOther, "timer client", timer));
  LIVEEXEC_RETURN_IF_ERROR(load.AddSeats(4, Rank::kOther, "subscriber", subscriber));
  LIVEEXEC_RETURN_IF_ERROR(load.AddSeats(1, Rank::kOther, "publisher", publisher));
  LIVEEXEC_RETURN_IF_ERROR(
      load.AddSeats(2, Rank::kOther, "slow reader", slow, SlowTaker::Dialing()));
  return SeatVisitors(options, load);
}

absl::Status SeatHttp(const TortureOptions& options, Load& load) {
  HttpOptions http = {.path = options.http_path, .same_body = options.same_body};
  LIVEEXEC_RETURN_IF_ERROR(
      load.AddSeats(options.clients, Rank::kBusy, "keep-alive client", Makes<HttpClient>(http)));
  http.only_on_demand = true;
  LIVEEXEC_RETURN_IF_ERROR(
      load.AddSeats(options.idle, Rank::kIdle, "idle client", Makes<HttpClient>(http)));
  http.only_on_demand = false;
  http.requests = 1;
  LIVEEXEC_RETURN_IF_ERROR(load.AddSeats(2, Rank::kVisitor, "visitor", Makes<HttpClient>(http)));
  http.halves = true;
  return load.AddSeats(2, Rank::kVisitor, "half-request visitor", Makes<HttpClient>(http));
}

absl::Status SeatScript(const TortureOptions& options, Load& load) {
  const auto player = [&options](bool only_on_demand) {
    return [&options, only_on_demand](EventLoop& loop, std::string name, Random random) {
      return std::make_unique<ScriptClient>(loop, std::move(name), random, options.script,
                                            only_on_demand);
    };
  };
  LIVEEXEC_RETURN_IF_ERROR(load.AddSeats(options.idle, Rank::kIdle, "idle client", player(true)));
  LIVEEXEC_RETURN_IF_ERROR(
      load.AddSeats(options.clients, Rank::kBusy, "script client", player(false)));
  return SeatVisitors(options, load);
}

absl::Status SeatUdp(const TortureOptions& options, Load& load) {
  UdpOptions udp = {.max_think = kThink, .patience = absl::Seconds(options.patience_s)};
  LIVEEXEC_RETURN_IF_ERROR(
      load.AddSeats(options.clients, Rank::kBusy, "udp client", Makes<UdpClient>(udp)));
  udp.only_on_demand = true;
  return load.AddSeats(options.idle, Rank::kIdle, "idle udp client", Makes<UdpClient>(udp));
}

}  // namespace

Exchange AnyExchange(const TortureOptions& options, Random& random) {
  if (options.dialogue == Dialogue::kScript) return options.script.At(0);
  const std::string bytes = PositionCodedBytes(random.Next(), 0, random.Between(20, 400));
  if (options.dialogue == Dialogue::kEcho) return {bytes, bytes};
  return {RespCommand({"ECHO", bytes}), RespBulk(bytes)};
}

absl::Status SeatClients(const TortureOptions& options, SharedState& shared, Load& load) {
  switch (options.dialogue) {
    case Dialogue::kEcho:
      return SeatEcho(options, load);
    case Dialogue::kResp:
      return SeatResp(options, shared, load);
    case Dialogue::kHttp:
      return SeatHttp(options, load);
    case Dialogue::kScript:
      return SeatScript(options, load);
    case Dialogue::kUdp:
      return SeatUdp(options, load);
  }
  return absl::InternalError("no such protocol");
}

}  // namespace liveexec::harness
