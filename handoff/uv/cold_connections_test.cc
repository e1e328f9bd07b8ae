// Idle connections that are put aside ahead of a blackout. The upgrade here is one without exec
// (see testing/carried_state.h); the same with processes is in tests/e2e.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "handoff/uv/images.capnp.h"
#include "handoff/uv/stream_server.h"
#include "handoff/uv/testing/carried_state.h"
#include "handoff/uv/testing/test_client.h"
#include "handoff/uv/testing/test_loop.h"

namespace liveexec::uv {
namespace {

using testing::CarriedState;
using testing::TestClient;
using testing::TestLoop;

// Of all handlers of a test.
struct Counts {
  int cold = 0;
  int closed = 0;
  int loaded = 0;
};

// Answers each byte with how many there have been: so each connection has state of its own.
class Counter final : public StreamHandler {
 public:
  Counter(Counts& counts, bool may_go_cold) : counts_(counts), may_go_cold_(may_go_cold) {}

  size_t OnInput(Stream& stream, std::string_view input) override {
    if (input == "quit") {
      stream.CloseAfterFlush();
    } else {
      seen_ += input.size();
      stream.Write(std::to_string(seen_) + ";").IgnoreError();
    }
    return input.size();
  }
  void OnClose(Stream&) override { ++counts_.closed; }
  absl::Status Save(capnp::AnyPointer::Builder state) const override {
    // Any schema will do.
    state.initAs<image::ColdSet::Batch>().setOffset(seen_);
    return absl::OkStatus();
  }
  absl::Status Load(capnp::AnyPointer::Reader state) override {
    seen_ = state.getAs<image::ColdSet::Batch>().getOffset();
    ++counts_.loaded;
    return absl::OkStatus();
  }
  bool MayGoCold() const override { return may_go_cold_; }
  void OnCold(Stream&) override { ++counts_.cold; }

 private:
  Counts& counts_;
  const bool may_go_cold_;
  uint64_t seen_ = 0;
};

size_t OpenFds() {
  const std::filesystem::directory_iterator fds("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(fds), end(fds)));
}

class ColdConnectionsTest : public ::testing::Test {
 protected:
  // Three batches, the last one not full.
  static constexpr int kClients = 300;

  std::unique_ptr<StreamServer> Make() {
    return std::make_unique<StreamServer>(StreamServerOptions{
        .name = "clients",
        .loops = {&loop_.executor()},
        .make_handler =
            [this](Stream&) { return std::make_unique<Counter>(counts_, may_go_cold_); },
        .cold_threshold = 1,
        .cold_after_ms = 0});
  }

  // Client i has sent i % 5 + 1 bytes.
  void Start() {
    server_ = Make();
    auto port = server_->ListenTcp("127.0.0.1", 0);
    ASSERT_TRUE(port.ok()) << port.status();
    server_->Activate();
    for (int i = 0; i < kClients; ++i) clients_.push_back(TestClient::Tcp("127.0.0.1", *port));
    for (int i = 0; i < kClients; ++i) {
      clients_[i].Send(std::string(i % 5 + 1, 'x'));
      loop_.RunUntil([&] { return clients_[i].Has(std::to_string(i % 5 + 1) + ";"); });
      clients_[i].ForgetReceived();
    }
    loop_.RunReady();
  }

  void Precopy() {
    bool done = false;
    server_->Precopy(Successor(), [&](const absl::Status&) { done = true; });
    loop_.RunUntil([&] { return done; });
  }

  CarriedState Export() {
    auto state = CarriedState::Of(*server_);
    EXPECT_TRUE(state.ok()) << state.status();
    return *std::move(state);
  }

  void Rehydrate() {
    ASSERT_TRUE(server_->Quiesce().ok());
    CarriedState state = Export();
    server_ = Make();
    counts_.closed = 0;  // the old object's end; a program has no such
    const absl::Status status = state.RehydrateInto(*server_);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(state.fds_left(), 0u);
  }

  // Each client is answered, once, by a handler that knows what came before.
  void ExpectAllServed(int more = 1) {
    for (TestClient& client : clients_) client.Send("y");
    for (int i = 0; i < kClients; ++i) {
      loop_.RunUntil([&] { return clients_[i].Has(std::to_string(i % 5 + 1 + more) + ";"); });
      clients_[i].ForgetReceived();
    }
    EXPECT_EQ(server_->size(), static_cast<size_t>(kClients));
    EXPECT_EQ(counts_.closed, 0);
  }

  TestLoop loop_;
  Counts counts_;
  bool may_go_cold_ = true;
  std::unique_ptr<StreamServer> server_;
  std::vector<TestClient> clients_;
};

TEST_F(ColdConnectionsTest, CrossWithoutBeingInAnyFdTable) {
  Start();
  const size_t before = OpenFds();
  Precopy();
  EXPECT_EQ(counts_.cold, kClients);
  EXPECT_LT(OpenFds(), before - kClients + 10);
  EXPECT_EQ(server_->size(), static_cast<size_t>(kClients));
  Rehydrate();
  EXPECT_EQ(server_->size(), static_cast<size_t>(kClients));
  // The blackout did nothing for any of them.
  EXPECT_EQ(counts_.loaded, 0);
  server_->Activate();
  ExpectAllServed();
  EXPECT_EQ(counts_.loaded, kClients);
}

TEST_F(ColdConnectionsTest, AllComeBackWithoutSayingAnything) {
  Start();
  Precopy();
  Rehydrate();
  server_->Activate();
  EXPECT_TRUE(server_->HasAside());
  loop_.RunUntil([&] { return !server_->HasAside(); });
  EXPECT_EQ(counts_.loaded, kClients);
  ExpectAllServed();
}

TEST_F(ColdConnectionsTest, CrossAgainAndAgain) {
  Start();
  for (int upgrade = 0; upgrade < 4; ++upgrade) {
    Precopy();
    Rehydrate();
    server_->Activate();
    if (upgrade % 2 == 0) ExpectAllServed(upgrade / 2 + 1);
  }
  EXPECT_EQ(counts_.cold, 4 * kClients);
}

TEST_F(ColdConnectionsTest, OneThatWakesAheadOfTheBlackoutIsServedAtOnce) {
  Start();
  Precopy();
  clients_[7].Send("y");
  loop_.RunUntil([&] { return clients_[7].Has("4;"); });
  EXPECT_EQ(counts_.loaded, 1);
  clients_[7].Send("half");
  Rehydrate();
  EXPECT_EQ(server_->size(), static_cast<size_t>(kClients));
  server_->Activate();
  loop_.RunUntil([&] { return clients_[7].Has("4;8;"); });
  loop_.RunUntil([&] { return !server_->HasAside(); });
  EXPECT_EQ(server_->size(), static_cast<size_t>(kClients));
}

TEST_F(ColdConnectionsTest, OneThatSpeaksDuringTheBlackoutIsAnsweredAfterIt) {
  Start();
  Precopy();
  ASSERT_TRUE(server_->Quiesce().ok());
  clients_[200].Send("y");
  CarriedState state = Export();
  clients_[201].Send("yy");
  server_ = Make();
  ASSERT_TRUE(state.RehydrateInto(*server_).ok());
  clients_[202].Send("yyy");
  server_->Activate();
  loop_.RunUntil([&] {
    return clients_[200].Has("2;") && clients_[201].Has("4;") && clients_[202].Has("6;");
  });
}

TEST_F(ColdConnectionsTest, APeerThatGoesWhileItsConnectionIsAsideIsNoticed) {
  Start();
  Precopy();
  clients_[0].Close();
  loop_.RunUntil([&] { return counts_.closed == 1; });
  ASSERT_TRUE(server_->Quiesce().ok());
  clients_[1].Close();
  CarriedState state = Export();
  server_ = Make();
  counts_.closed = 0;
  ASSERT_TRUE(state.RehydrateInto(*server_).ok());
  clients_[2].Close();
  server_->Activate();
  loop_.RunUntil([&] { return counts_.closed == 2; });
  loop_.RunUntil([&] { return !server_->HasAside(); });
  EXPECT_EQ(server_->size(), static_cast<size_t>(kClients - 3));
}

TEST_F(ColdConnectionsTest, OneThatIsClosedEndsForItsPeerAlthoughTheEscrowHasIt) {
  Start();
  Precopy();
  clients_[5].Send("quit");
  loop_.RunUntil([&] { return clients_[5].Ended(); });
}

TEST_F(ColdConnectionsTest, AnAbandonedUpgradeTakesAllBack) {
  Start();
  const size_t before = OpenFds();
  Precopy();
  server_->AbandonPrecopy();
  loop_.RunUntil([&] { return counts_.loaded == kClients; });
  loop_.RunUntil([&] { return OpenFds() == before; });
  EXPECT_FALSE(server_->HasAside());
  ExpectAllServed();
}

TEST_F(ColdConnectionsTest, AnUpgradeThatIsAbandonedInTheBlackoutTakesAllBack) {
  Start();
  Precopy();
  ASSERT_TRUE(server_->Quiesce().ok());
  { const CarriedState state = Export(); }
  server_->Resume();
  server_->AbandonPrecopy();
  ExpectAllServed();
}

TEST_F(ColdConnectionsTest, TheNextUpgradeWaitsUntilAllAreBackThenPutsThemAsideAgain) {
  Start();
  Precopy();
  server_->AbandonPrecopy();
  Precopy();
  EXPECT_EQ(counts_.loaded, kClients);
  EXPECT_EQ(counts_.cold, 2 * kClients);
  Rehydrate();
  server_->Activate();
  ExpectAllServed();
}

TEST_F(ColdConnectionsTest, AProgramThatIsRolledBackToFindsTheSame) {
  Start();
  Precopy();
  ASSERT_TRUE(server_->Quiesce().ok());
  CarriedState state = Export();
  CarriedState again = Export();
  server_ = Make();
  ASSERT_TRUE(state.RehydrateInto(*server_).ok());
  // It fails before it is committed.
  server_ = Make();
  ASSERT_TRUE(again.RehydrateInto(*server_).ok());
  server_->Activate();
  ExpectAllServed();
}

TEST_F(ColdConnectionsTest, WhoLooksAtAllConnectionsSeesAll) {
  Start();
  Precopy();
  int seen = 0;
  server_->ForEach([&](Stream&, StreamHandler&) { ++seen; });
  EXPECT_EQ(seen, kClients);
  EXPECT_FALSE(server_->HasAside());
  Rehydrate();
  server_->Activate();
  ExpectAllServed();
}

TEST_F(ColdConnectionsTest, TheyAreKnownToBeAsideUntilAllHaveTheirHandlersAgain) {
  Start();
  EXPECT_FALSE(server_->HasAside());
  Precopy();
  EXPECT_TRUE(server_->HasAside());
  Rehydrate();
  EXPECT_TRUE(server_->HasAside());
  server_->Activate();
  loop_.RunUntil([&] { return !server_->HasAside(); });
  int seen = 0;
  server_->ForEachOn(loop_.executor(), [&](Stream&, StreamHandler&) { ++seen; });
  EXPECT_EQ(seen, kClients);
  ExpectAllServed();
}

TEST_F(ColdConnectionsTest, AreTakenBackAtOnceForWhoAsks) {
  Start();
  Precopy();
  Rehydrate();
  server_->Activate();
  bool back = false;
  server_->TakeBack(loop_.executor(), [&] {
    back = true;
    EXPECT_FALSE(server_->HasAside());
  });
  EXPECT_FALSE(back) << "never before it returns";
  loop_.RunUntil([&] { return back; });
  back = false;
  server_->TakeBack(loop_.executor(), [&] { back = true; });
  loop_.RunUntil([&] { return back; });  // also when there is nothing to take back
  ExpectAllServed();
}

TEST_F(ColdConnectionsTest, NobodyHearsThatTheyAreBackOnceTheServerIsGone) {
  Start();
  Precopy();
  server_->TakeBack(loop_.executor(), [] { ADD_FAILURE() << "there is nothing any more"; });
  server_.reset();
  loop_.RunReady();
}

TEST_F(ColdConnectionsTest, HandlersThatDoNotAgreeStayWhereTheyAre) {
  may_go_cold_ = false;
  Start();
  Precopy();
  EXPECT_EQ(counts_.cold, 0);
  EXPECT_FALSE(server_->HasAside());
  Rehydrate();
  EXPECT_EQ(counts_.loaded, kClients);
  server_->Activate();
  ExpectAllServed();
}

TEST_F(ColdConnectionsTest, AServerThatIsDestroyedMeanwhileClosesThem) {
  Start();
  Precopy();
  server_.reset();
  EXPECT_EQ(counts_.closed, kClients);
  for (TestClient& client : clients_) EXPECT_TRUE(client.EndedOrReset());
}

}  // namespace
}  // namespace liveexec::uv
