// Idle connections that are put aside ahead of a blackout. The upgrade here is one without exec
// (see testing/carried_state.h); the same with processes is in tests/e2e. Limits of fds and files:
// cold_limits_test.cc.
#include "handoff/uv/testing/cold_connections.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "handoff/component.h"

namespace liveexec::uv {
namespace {

using testing::CarriedState;
using testing::ColdConnectionsTest;
using testing::OpenFds;
using testing::TestClient;

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

// Another component's Quiesce or Export may look at all connections, whether this one has been
// quiesced, and exported, before or not.
TEST_F(ColdConnectionsTest, WhoLooksAtAllWhileTheyAreQuiescedSeesAllAndTheyGoOn) {
  Start();
  Precopy();
  ASSERT_TRUE(server_->Quiesce().ok());
  int seen = 0;
  server_->ForEach([&](Stream&, StreamHandler&) { ++seen; });
  EXPECT_EQ(seen, kClients);
  server_->Resume();
  server_->AbandonPrecopy();
  ExpectAllServed();
}

TEST_F(ColdConnectionsTest, WhoLooksForOneWhileTheyAreQuiescedFindsIt) {
  Start();
  uint64_t id = 0;
  server_->ForEach([&](Stream& stream, StreamHandler&) { id = stream.id(); });
  Precopy();
  ASSERT_TRUE(server_->Quiesce().ok());
  EXPECT_NE(server_->Find(loop_.executor(), id), nullptr);
  server_->Resume();
  server_->AbandonPrecopy();
  ExpectAllServed();
}

TEST_F(ColdConnectionsTest, WhoLooksAtAllBeforeTheyAreExportedDoesNotLoseThem) {
  Start();
  Precopy();
  ASSERT_TRUE(server_->Quiesce().ok());
  server_->ForEach([](Stream&, StreamHandler&) {});
  Rehydrate();
  server_->Activate();
  ExpectAllServed();
}

TEST_F(ColdConnectionsTest, WhoLooksAtAllAfterTheyWereExportedDoesNotCloseWhatIsCarried) {
  Start();
  Precopy();
  ASSERT_TRUE(server_->Quiesce().ok());
  ExportContext context;
  ASSERT_TRUE(server_->Export(context).ok());
  CarriedState state = Export();
  server_->ForEach([](Stream&, StreamHandler&) {});
  for (const CarriedFd& carried : context.fds()) {
    EXPECT_NE(fcntl(carried.fd, F_GETFD), -1) << carried.role << " was closed";
  }
  server_ = Make();
  counts_.closed = 0;
  ASSERT_TRUE(state.RehydrateInto(*server_).ok());
  server_->Activate();
  ExpectAllServed();
}

TEST_F(ColdConnectionsTest, OneThatWokeAheadOfTheBlackoutEndsForItsPeerInTheNewProgram) {
  Start();
  Precopy();
  ASSERT_TRUE(IsServed(5));
  ASSERT_TRUE(server_->Quiesce().ok());
  // The old program's set, which a custodian keeps.
  const CarriedState kept = Export();
  Rehydrate();
  server_->Activate();
  clients_[5].Send("quit");
  loop_.RunUntil([&] { return clients_[5].Ended(); });
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
