#include "handoff/flight_recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <utility>

#include "core/error.h"
#include "core/testing/faulty_syscalls.h"
#include "core/testing/open_files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace liveexec {
namespace {

using ::testing::HasSubstr;

Syscalls& Kernel() { return Syscalls::Kernel(); }

FlightRecorder NewRecorder() {
  auto recorder = FlightRecorder::Create(Kernel());
  EXPECT_TRUE(recorder.ok()) << recorder.status();
  return *std::move(recorder);
}

UniqueFd Duplicate(int fd) { return UniqueFd(fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

TEST(FlightRecorder, WhoeverComesNextReadsWhatWasNoted) {
  FlightRecorder writer = NewRecorder();
  EXPECT_EQ(fcntl(writer.fd(), F_GETFD), FD_CLOEXEC);
  writer.NotePhase(Phase::kRehydrating);
  writer.NoteComponent("keyspace");
  writer.NoteFailure(FailureKind::kStatus, "E_SCHEMA", "schema 9 is unknown");
  auto reader = FlightRecorder::Adopt(Kernel(), Duplicate(writer.fd()));
  ASSERT_TRUE(reader.ok()) << reader.status();
  FlightReport report = reader->Report();
  EXPECT_EQ(report.phase, Phase::kRehydrating);
  EXPECT_EQ(report.failure, FailureKind::kStatus);
  EXPECT_EQ(report.component, "keyspace");
  EXPECT_EQ(report.code, "E_SCHEMA");
  EXPECT_EQ(report.message, "schema 9 is unknown");
  EXPECT_GT(reader->PhaseStart(Phase::kRehydrating), 0);
  EXPECT_EQ(reader->PhaseStart(Phase::kSelfChecking), 0);
}

TEST(FlightRecorder, APhaseBeginsWhenItIsNotedForTheFirstTime) {
  FlightRecorder recorder = NewRecorder();
  recorder.NotePhase(Phase::kReceiving);
  int64_t start = recorder.PhaseStart(Phase::kReceiving);
  recorder.NotePhase(Phase::kVerifying);
  recorder.NotePhase(Phase::kReceiving);
  EXPECT_EQ(recorder.PhaseStart(Phase::kReceiving), start);
  EXPECT_EQ(recorder.Report().phase, Phase::kReceiving);
}

TEST(FlightRecorder, LongTextsAreCut) {
  FlightRecorder recorder = NewRecorder();
  std::string longest(100'000, 'x');
  recorder.NoteComponent(longest);
  recorder.NoteFailure(FailureKind::kStatus, longest, longest);
  FlightReport report = recorder.Report();
  EXPECT_EQ(report.component, std::string(sizeof(FlightRecord::component) - 1, 'x'));
  EXPECT_EQ(report.code, std::string(sizeof(FlightRecord::code) - 1, 'x'));
  EXPECT_EQ(report.message, std::string(sizeof(FlightRecord::message) - 1, 'x'));
  recorder.NoteComponent("");
  EXPECT_EQ(recorder.Report().component, "");
}

TEST(FlightRecorder, WhatACrashingProgramLeftIsReadWithinBounds) {
  FlightRecorder recorder = NewRecorder();
  FlightRecord* record = recorder.record();
  uint64_t magic = record->magic;
  memset(static_cast<void*>(record), 0xff, 4096);
  record->magic = magic;
  auto reader = FlightRecorder::Adopt(Kernel(), Duplicate(recorder.fd()));
  ASSERT_TRUE(reader.ok()) << reader.status();
  FlightReport report = reader->Report();
  EXPECT_LT(static_cast<int>(report.phase), kPhaseCount);
  EXPECT_LE(report.component.size(), sizeof(FlightRecord::component));
  EXPECT_LE(report.message.size(), sizeof(FlightRecord::message));
  EXPECT_FALSE(report.Sentence().empty());
  EXPECT_FALSE(report.Code().empty());
  for (uint32_t kind = 0; kind < 8; ++kind) {
    record->failure_kind = kind;
    EXPECT_FALSE(reader->Report().Sentence().empty());
  }
}

TEST(FlightRecorder, APageThatIsNotOursIsRefused) {
  struct Row {
    const char* what;
    off_t size;
    uint64_t magic;
  };
  const Row table[] = {
      {"empty", 0, 0},
      {"too small", 4095, FlightRecord::kMagic},
      {"too large", 8192, FlightRecord::kMagic},
      {"zeros", 4096, 0},
      {"another magic", 4096, FlightRecord::kMagic + 1},
  };
  for (const Row& row : table) {
    UniqueFd fd(memfd_create("foreign", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    ASSERT_EQ(ftruncate(fd.get(), row.size), 0);
    if (row.size > 0) {
      ASSERT_EQ(pwrite(fd.get(), &row.magic, sizeof(row.magic), 0), 8);
    }
    ASSERT_EQ(fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
    auto recorder = FlightRecorder::Adopt(Kernel(), std::move(fd));
    EXPECT_TRUE(absl::IsDataLoss(recorder.status())) << row.what << ": " << recorder.status();
  }
  UniqueFd loose(memfd_create("foreign", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(ftruncate(loose.get(), 4096), 0);
  ASSERT_EQ(pwrite(loose.get(), &FlightRecord::kMagic, sizeof(FlightRecord::kMagic), 0), 8);
  EXPECT_TRUE(absl::IsDataLoss(FlightRecorder::Adopt(Kernel(), std::move(loose)).status()))
      << "one that could still be cut off";
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  UniqueFd writer(ends[1]);
  EXPECT_FALSE(FlightRecorder::Adopt(Kernel(), UniqueFd(ends[0])).ok());
}

// Whoever holds the fd, a candidate in its rehearsal for one, cannot take the page away from under
// those who read it.
TEST(FlightRecorder, KeepsItsSizeWhoeverHoldsIt) {
  auto recorder = FlightRecorder::Create(Kernel());
  ASSERT_TRUE(recorder.ok()) << recorder.status();
  EXPECT_EQ(ftruncate(recorder->fd(), 0), -1);
  EXPECT_EQ(errno, EPERM);
}

TEST(FlightReport, SaysWhatHappenedInOneSentence) {
  struct Row {
    FailureKind kind;
    int signal;
    const char* code;
    std::vector<std::string> words;
  };
  const Row table[] = {
      {FailureKind::kSignal,
       SIGSEGV,
       "E_CRASH",
       {"crashed", "SIGSEGV", "0x10 in F()", "0x20", "addr2line"}},
      {FailureKind::kSignal, SIGBUS, "E_CRASH", {"crashed", "SIGBUS", "0x10"}},
      {FailureKind::kSignal, SIGABRT, "E_CRASH", {"crashed", "SIGABRT", "what it threw"}},
      {FailureKind::kSignal, 999, "E_CRASH", {"crashed", "999"}},
      {FailureKind::kDeadline, 0, "E_TIMEOUT", {"in time", "rehydrate_deadline"}},
      {FailureKind::kExit, 0, "E_EXIT", {"exit", "correct it"}},
      {FailureKind::kNone, 0, "E_KILLED", {"killed", "kernel's log"}},
      {FailureKind::kStatus, 0, "E_INTERNAL", {"refused", "what it threw"}},
  };
  for (const Row& row : table) {
    FlightReport report{.phase = Phase::kRehydrating,
                        .failure = row.kind,
                        .signal = row.signal,
                        .address = 0x10,
                        .instruction = 0x20,
                        .component = "keyspace",
                        .message = "what it threw",
                        .function = "F()"};
    EXPECT_EQ(report.Code(), row.code);
    for (const std::string& word : row.words) EXPECT_THAT(report.Sentence(), HasSubstr(word));
    EXPECT_THAT(report.Sentence(), HasSubstr("while rehydrating component keyspace"));
    report.code = "E_SCHEMA";
    EXPECT_EQ(report.Code(), "E_SCHEMA");
  }
}

TEST(FlightRecorder, EveryFailingCallIsAnErrorAndLeaksNothing) {
  auto before = OpenFiles();
  int count = ForEachCall(ENOMEM, Times::kOnce, [](FaultySyscalls& syscalls) {
    absl::Status status = [&]() -> absl::Status {
      LIVEEXEC_ASSIGN_OR_RETURN(FlightRecorder recorder, FlightRecorder::Create(syscalls));
      return FlightRecorder::Adopt(syscalls, Duplicate(recorder.fd())).status();
    }();
    EXPECT_EQ(status.ok(), !syscalls.failed());
    EXPECT_TRUE(status.ok() || ErrnoOf(status) == ENOMEM) << status;
  });
  EXPECT_EQ(count, 7);
  EXPECT_EQ(OpenFiles(), before);
}

}  // namespace
}  // namespace liveexec
