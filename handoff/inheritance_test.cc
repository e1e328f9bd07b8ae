#include "handoff/inheritance.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "core/testing/in_child.h"
#include "gtest/gtest.h"

namespace liveexec {
namespace {

constexpr char kNonceText[] = "00112233445566778899aabbccddeeff";
const Nonce kNonce = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
                      0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};

TEST(ChannelVariable, HasTheDocumentedForm) {
  EXPECT_EQ(ChannelVariable({.mode = StartMode::kUpgrade, .channel = 7, .nonce = kNonce}),
            std::string("LIVEEXEC_CHANNEL=7:upgrade:") + kNonceText);
}

TEST(ChannelVariable, IsParsedBackForEveryMode) {
  for (StartMode mode : {StartMode::kUpgrade, StartMode::kRollback, StartMode::kResurrection,
                         StartMode::kRehearsal}) {
    std::string variable = ChannelVariable({.mode = mode, .channel = 1234, .nonce = kNonce});
    auto parsed = ParseChannelVariable(variable.substr(variable.find('=') + 1));
    ASSERT_TRUE(parsed.has_value()) << variable;
    EXPECT_EQ(parsed->mode, mode);
    EXPECT_EQ(parsed->channel, 1234);
    EXPECT_EQ(parsed->nonce, kNonce);
  }
}

TEST(ParseChannelVariable, WhatIsMalformedIsNothing) {
  const std::string nonce = kNonceText;
  const std::string table[] = {
      "",
      ":",
      "::",
      "7",
      "7:upgrade",
      "7:upgrade:",
      ":upgrade:" + nonce,
      "x:upgrade:" + nonce,
      "-1:upgrade:" + nonce,
      "7.5:upgrade:" + nonce,
      "99999999999999999999:upgrade:" + nonce,
      "7:fresh:" + nonce,
      "7:Upgrade:" + nonce,
      "7::" + nonce,
      "7:dance:" + nonce,
      "7:upgrade:" + nonce + ":",
      "7:upgrade:" + nonce + "00",
      "7:upgrade:" + nonce.substr(2),
      "7:upgrade:" + nonce.substr(1) + "g",
      "7:upgrade:0x" + nonce.substr(2),
      "7:upgrade:" + nonce + "\n",
      "7:upgrade: " + nonce.substr(1),
      std::string(100'000, ':'),
      std::string(100'000, '7'),
  };
  for (const std::string& value : table) {
    EXPECT_FALSE(ParseChannelVariable(value).has_value()) << value.substr(0, 80);
  }
}

// Runs TakeInheritance in a process of its own on `entries`: returns what is left of them and how
// the process says that it was started.
std::string Take(std::vector<std::string> entries) {
  return InChild([&] {
    std::vector<char*> pointers;
    for (std::string& entry : entries) pointers.push_back(entry.data());
    pointers.push_back(nullptr);
    TakeInheritance(pointers.data());
    const Inheritance& inheritance = ProcessInheritance();
    std::string text(StartModeName(inheritance.mode));
    text += " " + std::to_string(inheritance.channel);
    for (size_t i = 0; pointers[i] != nullptr; ++i) text += std::string(" ") + pointers[i];
    return text;
  });
}

TEST(TakeInheritance, TakesTheVariableOutAndKeepsTheOthers) {
  UniqueFd fd(eventfd(0, 0));
  std::string variable =
      ChannelVariable({.mode = StartMode::kUpgrade, .channel = fd.get(), .nonce = kNonce});
  std::string upgrade = "upgrade " + std::to_string(fd.get());
  EXPECT_EQ(Take({"A=1", variable, "B=2"}), upgrade + " A=1 B=2");
  EXPECT_EQ(Take({variable, "A=1"}), upgrade + " A=1");
  EXPECT_EQ(Take({"A=1", variable}), upgrade + " A=1");
  EXPECT_EQ(Take({variable}), upgrade);
}

TEST(TakeInheritance, MakesTheChannelCloseOnExec) {
  EXPECT_EQ(InChild([]() -> std::string {
              int fd = eventfd(0, 0);
              std::string variable =
                  ChannelVariable({.mode = StartMode::kRollback, .channel = fd, .nonce = kNonce});
              char* environment[] = {variable.data(), nullptr};
              TakeInheritance(environment);
              if (ProcessInheritance().nonce != kNonce) return "nonce";
              return fcntl(fd, F_GETFD) == FD_CLOEXEC ? "" : "not close-on-exec";
            }),
            "");
}

TEST(TakeInheritance, WithoutTheVariableTheStartIsFresh) {
  EXPECT_EQ(Take({}), "fresh -1");
  EXPECT_EQ(Take({"A=1", "LIVEEXEC_CHANNELS=1:upgrade:" + std::string(kNonceText)}),
            "fresh -1 A=1 LIVEEXEC_CHANNELS=1:upgrade:" + std::string(kNonceText));
  EXPECT_EQ(ProcessInheritance().mode, StartMode::kFresh);
}

TEST(TakeInheritance, AStrayOrMalformedVariableIsRemovedAndHarmless) {
  std::string no_such_fd =
      ChannelVariable({.mode = StartMode::kUpgrade, .channel = 999, .nonce = kNonce});
  for (const std::string& stray :
       {no_such_fd, std::string("LIVEEXEC_CHANNEL="), std::string("LIVEEXEC_CHANNEL=hello")}) {
    EXPECT_EQ(Take({"A=1", stray, "B=2"}), "fresh -1 A=1 B=2") << stray;
  }
}

TEST(TakeInheritance, LeavesNoSecondVariableBehind) {
  UniqueFd fd(eventfd(0, 0));
  std::string variable =
      ChannelVariable({.mode = StartMode::kUpgrade, .channel = fd.get(), .nonce = kNonce});
  EXPECT_EQ(Take({variable, "A=1", "LIVEEXEC_CHANNEL=hello"}),
            "upgrade " + std::to_string(fd.get()) + " A=1");
  EXPECT_EQ(Take({"LIVEEXEC_CHANNEL=hello", "A=1", variable}),
            "upgrade " + std::to_string(fd.get()) + " A=1");
}

TEST(StartModeName, NamesEachMode) {
  EXPECT_EQ(StartModeName(StartMode::kFresh), "fresh");
  EXPECT_EQ(StartModeName(StartMode::kUpgrade), "upgrade");
  EXPECT_EQ(StartModeName(StartMode::kRollback), "rollback");
  EXPECT_EQ(StartModeName(StartMode::kResurrection), "resurrection");
  EXPECT_EQ(StartModeName(StartMode::kRehearsal), "rehearsal");
}

}  // namespace
}  // namespace liveexec
