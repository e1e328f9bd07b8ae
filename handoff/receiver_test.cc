#include "handoff/receiver.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "core/testing/faulty_syscalls.h"
#include "core/testing/in_child.h"
#include "core/testing/open_files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "handoff/error_code.h"
#include "handoff/rollback.h"
#include "handoff/testing/filled_channel.h"
#include "handoff/testing/image_bytes.h"
#include "handoff/testing/scripted_component.h"

namespace liveexec {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Syscalls& Kernel() { return Syscalls::Kernel(); }

UniqueFd Socket() { return UniqueFd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)); }

UniqueFd Eventfd() { return UniqueFd(eventfd(0, EFD_CLOEXEC)); }
UniqueFd Timerfd() { return UniqueFd(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)); }

class ReceiverTest : public ::testing::Test {
 protected:
  ReceiverTest() : note_(NoteWith({"one", "two"})) {
    one_.value = 11;
    for (uint64_t i = 0; i < 3; ++i) one_.fds[{"client", i}] = Socket();
    two_.value = 22;
    two_.fds[{"listener", 0}] = UniqueFd(memfd_create("test", MFD_CLOEXEC));
    auto channel = FillChannel(Kernel(), note_, std::vector<Component*>{&one_, &two_});
    EXPECT_TRUE(channel.ok()) << channel.status();
    channel_ = *std::move(channel);
    channel_.sender.reset();  // The old program is gone.
  }

  absl::StatusOr<Verified> ReceiveFrom(const FdChannelEnds& channel, const ProgramNote& note,
                                       Syscalls& syscalls = Kernel()) {
    Inheritance inheritance = InheritanceOf(channel);
    Receiver receiver(syscalls, inheritance);
    auto received = receiver.Receive();
    if (!received.ok()) return received.status();
    return receiver.Verify(*std::move(received), note);
  }

  // The code of receiving from the channel after `change`.
  std::string CodeAfter(const std::function<void(Batches&)>& change) {
    auto before = OpenFiles();
    absl::Status status = ReceiveFrom(ChangedChannel(channel_, change), note_).status();
    EXPECT_EQ(OpenFiles(), before);
    return CodeOf(status);
  }

  ProgramNote note_;
  ScriptedComponent one_{"one"}, two_{"two"};
  FdChannelEnds channel_;
};

// Batch 1 holds the images of "one" and "two", then the fds: clients 0 to 2, listener.
constexpr size_t kImageOfOne = 0, kImageOfTwo = 1, kClient0 = 2, kListener = 5;

TEST_F(ReceiverTest, EverythingArrivesAndTheChannelStaysAsItWas) {
  for (int round = 0; round < 3; ++round) {
    auto verified = ReceiveFrom(channel_, note_);
    ASSERT_TRUE(verified.ok()) << verified.status();
    EXPECT_EQ(verified->images.size(), 2u);
    ASSERT_EQ(verified->fds.size(), 4u);
    auto escrow = EscrowFds::Create(verified->manifest.fds, std::move(verified->fds));
    ASSERT_TRUE(escrow.ok());
    ScriptedComponent one("one"), two("two");
    std::vector<Component*> components = {&one, &two};
    absl::Status status = RehydrateAll(components, *verified, *escrow, false);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(one.value, 11u);
    EXPECT_EQ(two.value, 22u);
    EXPECT_EQ(one.fds.size(), 3u);
    EXPECT_EQ(one.schema_version, 1u);
    EXPECT_THAT(escrow->NotTaken(10), ElementsAre());
  }
}

TEST_F(ReceiverTest, ARehearsalGetsTheStateAndNoneOfTheServersFds) {
  // Of the fds it gets the table alone.
  FdChannelEnds snapshot = ChangedChannel(channel_, [](Batches& b) { b[1].resize(kClient0); });
  Inheritance inheritance = InheritanceOf(snapshot, StartMode::kRehearsal);
  Receiver receiver(Kernel(), inheritance);
  auto received = receiver.Receive();
  ASSERT_TRUE(received.ok()) << received.status();
  EXPECT_EQ(received->image_fds.size(), 2u);
  EXPECT_TRUE(received->fds.empty());
  EXPECT_EQ(received->manifest.fds.size(), 4u);
}

TEST_F(ReceiverTest, AChannelThatLacksSomethingIsRefused) {
  EXPECT_EQ(CodeAfter([](Batches& b) { b.clear(); }), "E_CHANNEL");
  EXPECT_EQ(CodeAfter([](Batches& b) { b.pop_back(); }), "E_CHANNEL");
  EXPECT_EQ(CodeAfter([](Batches& b) { b[1].pop_back(); }), "E_CHANNEL");
  EXPECT_EQ(CodeAfter([](Batches& b) { b[0].pop_back(); }), "E_CHANNEL");
  EXPECT_EQ(CodeAfter([](Batches& b) { b[0].push_back(Socket()); }), "E_CHANNEL");
  EXPECT_EQ(CodeAfter([](Batches& b) { b[1].push_back(Socket()); }), "E_CHANNEL");
}

TEST_F(ReceiverTest, WhatIsNoChannelIsRefused) {
  UniqueFd foreign[] = {Socket(), UniqueFd(memfd_create("x", MFD_CLOEXEC)), UniqueFd()};
  for (const UniqueFd& fd : foreign) {
    Inheritance inheritance{StartMode::kUpgrade, fd.get(), kTestStamp.nonce};
    EXPECT_EQ(CodeOf(Receiver(Kernel(), inheritance).Receive().status()), "E_CHANNEL");
    EXPECT_FALSE(Receiver(Kernel(), inheritance).AdoptRecorder().ok());
  }
}

TEST_F(ReceiverTest, AnFdThatIsNotTheOneInTheTableIsRefusedAndNamed) {
  EXPECT_EQ(CodeAfter([](Batches& b) { b[1][kClient0] = Socket(); }), "E_FDTABLE");
  EXPECT_EQ(CodeAfter([](Batches& b) { std::swap(b[1][kClient0], b[1][kClient0 + 1]); }),
            "E_FDTABLE");
  EXPECT_EQ(CodeAfter([](Batches& b) { b[1][kListener] = Socket(); }), "E_FDTABLE");
  FdChannelEnds changed = ChangedChannel(channel_, [](Batches& b) { b[1][kClient0] = Socket(); });
  absl::Status status = ReceiveFrom(changed, note_).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("one/client/0"));
}

TEST_F(ReceiverTest, ADamagedManifestIsRefused) {
  capnp::MallocMessageBuilder message;
  message.initRoot<capnp::AnyPointer>();
  auto manifest = [](const ImageBytes& bytes) {
    return [bytes](Batches& b) { b[0][kManifestFd] = SealedWith(bytes); };
  };
  // A root that points nowhere.
  ImageBytes bomb = ImageAround(kTestStamp, Words({uint64_t{1} << 32, 0x0000'0001'0000'fff0}));
  EXPECT_EQ(CodeAfter(manifest(bomb)), "E_MANIFEST");
  ImageBytes flipped = bomb;
  flipped.back() ^= 1;
  EXPECT_EQ(CodeAfter(manifest(flipped)), "E_CHECKSUM");
  EXPECT_EQ(CodeAfter(manifest({1, 2, 3})), "E_IMAGE");
  EXPECT_EQ(CodeAfter([](Batches& b) {
              b[0][kManifestFd] = UniqueFd(memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING));
            }),
            "E_SEAL");
  ImageStamp other = kTestStamp;
  other.nonce[0] ^= 1;
  EXPECT_EQ(CodeAfter(manifest(BytesOf(other, message))), "E_STAMP");
}

TEST_F(ReceiverTest, AForeignFlightRecorderIsRefused) {
  EXPECT_EQ(CodeAfter([](Batches& b) { b[0][kRecorderFd] = Socket(); }), "E_CHANNEL");
  EXPECT_EQ(
      CodeAfter([](Batches& b) { b[0][kRecorderFd] = UniqueFd(memfd_create("x", MFD_CLOEXEC)); }),
      "E_CHANNEL");
}

TEST_F(ReceiverTest, ADamagedImageIsRefused) {
  capnp::MallocMessageBuilder message;
  message.initRoot<capnp::AnyPointer>();
  auto image = [](const ImageBytes& bytes) {
    return [bytes](Batches& b) { b[1][kImageOfTwo] = SealedWith(bytes); };
  };
  ImageBytes foreign = BytesOf(kTestStamp, message);
  EXPECT_EQ(CodeAfter(image(foreign)), "E_CHECKSUM") << "in itself right, but not the listed one";
  foreign.back() ^= 1;
  EXPECT_EQ(CodeAfter(image(foreign)), "E_CHECKSUM");
  EXPECT_EQ(CodeAfter(image({})), "E_IMAGE");
  ImageStamp other = kTestStamp;
  ++other.generation;
  EXPECT_EQ(CodeAfter(image(BytesOf(other, message))), "E_STAMP");
  EXPECT_EQ(CodeAfter([](Batches& b) { b[1][kImageOfOne] = Socket(); }), "E_SEAL");
  EXPECT_EQ(CodeAfter([](Batches& b) { std::swap(b[1][kImageOfOne], b[1][kImageOfTwo]); }),
            "E_CHECKSUM");
}

TEST_F(ReceiverTest, StateThatIsNotForThisProgramIsRefused) {
  auto code = [&](const std::function<void(ProgramNote&)>& change) {
    ProgramNote note = note_;
    change(note);
    return CodeOf(ReceiveFrom(channel_, note).status());
  };
  EXPECT_EQ(code([](ProgramNote& note) { note.application = "other"; }), "E_APP");
  EXPECT_EQ(code([](ProgramNote& note) { ++note.framework_abi; }), "E_ABI");
  EXPECT_EQ(code([](ProgramNote& note) { note.components.pop_back(); }), "E_SCHEMA");
  EXPECT_EQ(code([](ProgramNote& note) { note.components[0] = {"one", 3, 2}; }), "E_SCHEMA");
  EXPECT_EQ(code([](ProgramNote& note) {
              note.components.pop_back();
              note.dropped_components.push_back("two");
            }),
            "");
  EXPECT_EQ(code([](ProgramNote& note) { note.components[0] = {"one", 3, 1}; }), "");
  EXPECT_EQ(code([](ProgramNote& note) { note.security_epoch = 9; }), "");
}

TEST_F(ReceiverTest, FdsThatShareTheirInodeAreComparedByTheEndsOfTheirRows) {
  for (uint64_t i = 0; i < 4; ++i) two_.fds[{"tick", i}] = Eventfd();
  for (uint64_t i = 4; i < 8; ++i) two_.fds[{"tick", i}] = Timerfd();
  auto channel = FillChannel(Kernel(), note_, std::vector<Component*>{&one_, &two_});
  ASSERT_TRUE(channel.ok()) << channel.status();
  channel_ = *std::move(channel);
  constexpr size_t kTick0 = kListener + 1;
  ASSERT_TRUE(ReceiveFrom(channel_, note_).ok());
  for (size_t end : {0, 3, 4, 7}) {
    EXPECT_EQ(CodeAfter([&](Batches& b) { b[1][kTick0 + end] = end < 4 ? Timerfd() : Eventfd(); }),
              "E_FDTABLE")
        << end;
  }
  EXPECT_EQ(CodeAfter([](Batches& b) {
              std::rotate(b[1].begin() + kTick0, b[1].begin() + kTick0 + 1, b[1].end());
            }),
            "E_FDTABLE")
      << "all of them by one place";
  EXPECT_EQ(CodeAfter([](Batches& b) { b[1][kTick0 + 1] = Socket(); }), "E_FDTABLE")
      << "another inode, in the middle of a row";
}

TEST_F(ReceiverTest, AnFdTableThatIsTooSmallIsSaidSoAndNothingLeaks) {
  EXPECT_EQ(InChild([&]() -> std::string {
              auto before = OpenFiles();
              // The lowest number that is free when all below the highest are taken, and room for
              // the bootstrap batch from there on, but not for the rest.
              std::vector<UniqueFd> fill;
              do {
                fill.emplace_back(fcntl(0, F_DUPFD_CLOEXEC, 0));
              } while (fill.back().get() < before.rbegin()->first);
              before = OpenFiles();
              rlim_t limit = static_cast<rlim_t>(fill.back().get()) + 7;
              struct rlimit lower = {limit, limit};
              if (setrlimit(RLIMIT_NOFILE, &lower) != 0) return "setrlimit";
              absl::Status status = ReceiveFrom(channel_, note_).status();
              if (CodeOf(status) != "E_FDS") return std::string(status.ToString());
              return OpenFiles() == before ? "" : "fds leaked";
            }),
            "");
}

TEST_F(ReceiverTest, EveryFailingCallIsAnErrorAndLeaksNothing) {
  auto before = OpenFiles();
  int count = ForEachCall(EIO, Times::kOnce, [&](FaultySyscalls& syscalls) {
    auto verified = ReceiveFrom(channel_, note_, syscalls);
    EXPECT_EQ(verified.ok(), !syscalls.failed());
    EXPECT_TRUE(verified.ok() || CodeOf(verified.status()) != "E_INTERNAL") << verified.status();
  });
  EXPECT_GT(count, 15);
  EXPECT_EQ(OpenFiles(), before);
}

class RehydrateTest : public ReceiverTest {
 protected:
  RehydrateTest() : verified_(*ReceiveFrom(channel_, note_)) {
    auto escrow = EscrowFds::Create(verified_.manifest.fds, std::move(verified_.fds));
    escrow_ = std::make_unique<EscrowFds>(*std::move(escrow));
  }

  absl::Status Rehydrate(const std::vector<Component*>& components) {
    return RehydrateAll(components, verified_, *escrow_, false);
  }

  Verified verified_;
  std::unique_ptr<EscrowFds> escrow_;
  ScriptedComponent new_one_{"one"}, new_two_{"two"}, added_{"added"};
};

TEST_F(RehydrateTest, AComponentThatTheOldProgramDidNotHaveStartsFresh) {
  ASSERT_TRUE(Rehydrate({&new_one_, &added_, &new_two_}).ok());
  EXPECT_THAT(added_.calls, ElementsAre("initialize"));
  EXPECT_THAT(new_one_.calls, ElementsAre("rehydrate"));
  EXPECT_EQ(verified_.recorder.Report().component, "");
}

TEST_F(RehydrateTest, StateOfAComponentThatWasNotRegisteredIsNotLostSilently) {
  absl::Status status = Rehydrate({&new_one_});
  EXPECT_EQ(CodeOf(status), "E_SCHEMA");
  EXPECT_THAT(std::string(status.message()), HasSubstr("component two"));
  EXPECT_TRUE(new_one_.calls.empty());
}

TEST_F(RehydrateTest, WhatNobodyTakesIsNamed) {
  ProgramNote note = note_;
  note.components.pop_back();
  note.dropped_components.push_back("two");
  verified_ = *ReceiveFrom(channel_, note);
  ASSERT_TRUE(Rehydrate({&new_one_}).ok());
  EXPECT_THAT(escrow_->NotTaken(10), ElementsAre("two/listener/0 (memfd)"));
}

TEST_F(RehydrateTest, TheFirstFailureEndsItAndTheRecorderKnowsWhere) {
  new_two_.on_rehydrate = [] { return absl::DataLossError("unknown value"); };
  absl::Status status = Rehydrate({&new_one_, &new_two_, &added_});
  EXPECT_EQ(CodeOf(status), "E_REHYDRATE");
  EXPECT_THAT(std::string(status.message()), HasSubstr("component two"));
  EXPECT_EQ(verified_.recorder.Report().component, "two");
  EXPECT_TRUE(added_.calls.empty());
  added_.on_initialize = [] { return absl::InternalError("no disk"); };
  EXPECT_EQ(CodeOf(Rehydrate({&added_, &new_one_, &new_two_})), "E_REHYDRATE");
}

TEST_F(RehydrateTest, AnExceptionIsAnErrorToo) {
  new_one_.on_rehydrate = []() -> absl::Status { throw std::runtime_error("boom"); };
  absl::Status status = Rehydrate({&new_one_, &new_two_});
  EXPECT_EQ(CodeOf(status), "E_EXCEPTION");
  EXPECT_THAT(std::string(status.message()), HasSubstr("boom"));
}

TEST_F(RehydrateTest, ASelfCheckThatFailsIsNamed) {
  new_two_.on_self_check = [] { return absl::InternalError("odd"); };
  std::vector<Component*> components = {&new_one_, &new_two_};
  absl::Status status = SelfCheckAll(components, verified_.recorder);
  EXPECT_EQ(CodeOf(status), "E_SELFCHECK");
  EXPECT_THAT(std::string(status.message()), HasSubstr("component two"));
  EXPECT_EQ(verified_.recorder.Report().component, "two");
}

}  // namespace
}  // namespace liveexec
