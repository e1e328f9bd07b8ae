#include "handoff/control_frame.h"

#include <string>
#include <variant>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "handoff/error_code.h"

namespace liveexec {
namespace {

// The frame without its prefix.
std::string Payload(const std::string& frame) { return frame.substr(4); }

ControlRequest RoundTrip(const ControlRequest& request) {
  auto back = DecodeRequest(Payload(EncodeFrame(request)));
  EXPECT_TRUE(back.ok()) << back.status();
  return back.ok() ? *back : ControlRequest();
}

ControlResponse RoundTrip(const ControlResponse& response) {
  auto back = DecodeResponse(Payload(EncodeFrame(response)));
  EXPECT_TRUE(back.ok()) << back.status();
  return back.ok() ? *back : ControlResponse();
}

ControlStatus FullStatus() {
  ControlStatus status;
  status.program.application = "echo";
  status.program.version = "2.0";
  status.program.framework_abi = 1;
  status.program.security_epoch = 9;
  status.program.components = {{"keys", 3, 1}, {"clients", 1, 1}};
  status.program.dropped_components = {"stats"};
  status.program.build_id = "abcd";
  status.pid = 77;
  status.generation = 5;
  status.started_unix_ns = 1;
  status.program_started_unix_ns = 2;
  status.threads = 4;
  status.phase = "rehearsing";
  status.last_result = JournalEntry{.upgrade = 4, .outcome = Outcome::kCommitted};
  status.upgrade_binary = "/srv/echo";
  status.control_path = "/run/echo/control";
  return status;
}

TEST(ControlFrame, CarriesEveryKindOfRequest) {
  ControlRequest upgrade =
      RoundTrip(ControlRequest{7, ControlUpgrade{"/srv/echo", absl::Milliseconds(50), true}});
  EXPECT_EQ(upgrade.id, 7u);
  const auto& body = std::get<ControlUpgrade>(upgrade.body);
  EXPECT_EQ(body.binary, "/srv/echo");
  EXPECT_EQ(body.max_blackout, absl::Milliseconds(50));
  EXPECT_TRUE(body.allow_downgrade);
  EXPECT_EQ(
      std::get<ControlHistoryRequest>(RoundTrip(ControlRequest{8, ControlHistoryRequest{12}}).body)
          .limit,
      12u);
  using Body = decltype(ControlRequest::body);
  for (const Body& kind : {Body(ControlStatusRequest{}), Body(ControlCancel{}),
                           Body(ControlRollback{}), Body(ControlDoctor{})}) {
    EXPECT_EQ(RoundTrip(ControlRequest{9, kind}).body.index(), kind.index());
  }
}

TEST(ControlFrame, CarriesEveryKindOfResponse) {
  auto error = std::get<ControlError>(
      RoundTrip(ControlResponse{1, ControlError{"E_BUSY", "one at a time"}}).body);
  EXPECT_EQ(error.code, "E_BUSY");
  EXPECT_EQ(error.message, "one at a time");

  auto progress = std::get<ControlProgress>(
      RoundTrip(ControlResponse{1, ControlProgress{"sealing", ControlProgress::State::kFinished, 12,
                                                   "3 images"}})
          .body);
  EXPECT_EQ(progress.phase, "sealing");
  EXPECT_EQ(progress.state, ControlProgress::State::kFinished);
  EXPECT_EQ(progress.duration_ns, 12);
  EXPECT_EQ(progress.detail, "3 images");

  auto entry = std::get<JournalEntry>(
      RoundTrip(ControlResponse{1, JournalEntry{.upgrade = 3, .code = "E_APP"}}).body);
  EXPECT_EQ(entry.upgrade, 3u);
  EXPECT_EQ(entry.code, "E_APP");

  EXPECT_TRUE(
      std::holds_alternative<ControlDone>(RoundTrip(ControlResponse{1, ControlDone{}}).body));
  EXPECT_EQ(std::get<ControlDoctorReport>(
                RoundTrip(ControlResponse{1, ControlDoctorReport{"all well"}}).body)
                .text,
            "all well");
}

TEST(ControlFrame, CarriesAStatus) {
  auto status = std::get<ControlStatus>(RoundTrip(ControlResponse{1, FullStatus()}).body);
  EXPECT_EQ(status.program.application, "echo");
  EXPECT_EQ(status.program.version, "2.0");
  EXPECT_EQ(status.program.framework_abi, 1u);
  EXPECT_EQ(status.program.security_epoch, 9u);
  ASSERT_EQ(status.program.components.size(), 2u);
  EXPECT_EQ(status.program.components[0].name, "keys");
  EXPECT_EQ(status.program.components[0].writes, 3u);
  EXPECT_EQ(status.program.components[0].reads_oldest, 1u);
  EXPECT_EQ(status.program.dropped_components, std::vector<std::string>{"stats"});
  EXPECT_EQ(status.program.build_id, "abcd");
  EXPECT_EQ(status.pid, 77u);
  EXPECT_EQ(status.generation, 5u);
  EXPECT_EQ(status.started_unix_ns, 1);
  EXPECT_EQ(status.program_started_unix_ns, 2);
  EXPECT_EQ(status.threads, 4u);
  EXPECT_EQ(status.phase, "rehearsing");
  ASSERT_TRUE(status.last_result.has_value());
  EXPECT_EQ(status.last_result->outcome, Outcome::kCommitted);
  EXPECT_EQ(status.upgrade_binary, "/srv/echo");
  EXPECT_EQ(status.control_path, "/run/echo/control");

  auto empty = std::get<ControlStatus>(RoundTrip(ControlResponse{1, ControlStatus{}}).body);
  EXPECT_FALSE(empty.last_result.has_value());
}

TEST(ControlFrame, DropsTheOldestEntriesOfAHistoryThatIsTooLong) {
  std::vector<JournalEntry> entries;
  for (uint64_t i = 0; i < 64; ++i) {
    entries.push_back({.upgrade = i});
    entries.back().fds_left_behind.assign(64, std::string(4096, 'f'));
    entries.back().phases.assign(64, {std::string(4096, 'p'), 1, 2});
  }
  const std::string frame = EncodeFrame(ControlResponse{1, entries});
  EXPECT_LE(frame.size(), 4 + kMaxResponseFrame);
  auto back = DecodeResponse(Payload(frame));
  ASSERT_TRUE(back.ok()) << back.status();
  const auto& kept = std::get<std::vector<JournalEntry>>(back->body);
  ASSERT_FALSE(kept.empty());
  EXPECT_LT(kept.size(), entries.size());
  EXPECT_EQ(kept.back().upgrade, 63u);
}

TEST(ControlFrame, RefusesWhatARequestMustNotSay) {
  auto refused = [](const ControlRequest& request) {
    return CodeOf(DecodeRequest(Payload(EncodeFrame(request))).status());
  };
  EXPECT_EQ(refused({1, ControlUpgrade{std::string(5000, 'x')}}), "E_PROTO");
  EXPECT_EQ(refused({1, ControlUpgrade{std::string("a\0b", 3)}}), "E_PROTO");
  EXPECT_EQ(refused({1, ControlUpgrade{"a", absl::Nanoseconds(-1)}}), "E_PROTO");
}

TEST(ControlFrame, SurvivesEveryTruncationAndEveryChangedByte) {
  const std::string request =
      Payload(EncodeFrame(ControlRequest{7, ControlUpgrade{"/srv/echo", absl::Seconds(1), true}}));
  const std::string response = Payload(EncodeFrame(ControlResponse{1, FullStatus()}));
  int refused = 0;
  for (size_t i = 0; i < request.size(); ++i) {
    EXPECT_EQ(CodeOf(DecodeRequest(request.substr(0, i)).status()), "E_PROTO") << i;
    for (char value : {'\x00', '\x7f', '\xff'}) {
      std::string changed = request;
      changed[i] = value;
      auto result = DecodeRequest(changed);
      if (!result.ok()) ++refused;
      EXPECT_TRUE(result.ok() || CodeOf(result.status()) == "E_PROTO") << i;
    }
  }
  for (size_t i = 0; i < response.size(); ++i) {
    (void)DecodeResponse(response.substr(0, i));
    for (char value : {'\x00', '\x7f', '\xff'}) {
      std::string changed = response;
      changed[i] = value;
      auto result = DecodeResponse(changed);
      EXPECT_TRUE(result.ok() || CodeOf(result.status()) == "E_PROTO") << i;
    }
  }
  EXPECT_GT(refused, 0);
}

TEST(FrameBuffer, CutsAStreamThatArrivesByteByByte) {
  const std::string stream = EncodeFrame(ControlRequest{1, ControlStatusRequest{}}) +
                             EncodeFrame(ControlRequest{2, ControlCancel{}});
  FrameBuffer buffer(kMaxRequestFrame);
  std::vector<uint64_t> ids;
  for (char byte : stream) {
    buffer.Append({&byte, 1});
    auto frame = buffer.Next();
    ASSERT_TRUE(frame.ok());
    if (frame->has_value()) ids.push_back(DecodeRequest(**frame)->id);
  }
  EXPECT_THAT(ids, testing::ElementsAre(1, 2));
  EXPECT_TRUE(buffer.empty());
}

TEST(FrameBuffer, RefusesLengthsOfZeroAndOverTheLimit) {
  for (const std::string& prefix : {std::string("\0\0\0\0", 4), std::string("\1\0\x10\0", 4),
                                    std::string("\xff\xff\xff\xff")}) {
    FrameBuffer buffer(kMaxRequestFrame);
    buffer.Append(prefix);
    EXPECT_EQ(CodeOf(buffer.Next().status()), "E_PROTO");
  }
  FrameBuffer buffer(kMaxRequestFrame);
  buffer.Append({"\0\0\x10\0", 4});  // exactly 1 MiB: allowed, and not there yet
  auto frame = buffer.Next();
  ASSERT_TRUE(frame.ok());
  EXPECT_FALSE(frame->has_value());
}

}  // namespace
}  // namespace liveexec
