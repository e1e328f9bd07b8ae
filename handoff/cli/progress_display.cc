#include "handoff/cli/progress_display.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "handoff/cli/text.h"

namespace liveexec::cli {
namespace {

constexpr auto kRedraw = std::chrono::milliseconds(100);

bool IsSet(const char* name) {
  const char* value = getenv(name);
  return value != nullptr && *value != '\0';
}

// A longer line would wrap, and could not be drawn again in place.
size_t Columns(FILE* out) {
  winsize size = {};
  if (ioctl(fileno(out), TIOCGWINSZ, &size) != 0 || size.ws_col < 20) return 80;
  return size.ws_col;
}

}  // namespace

ProgressStyle ProgressStyleFor(FILE* out) {
  const char* terminal = getenv("TERM");
  if (!isatty(fileno(out)) || terminal == nullptr || strcmp(terminal, "dumb") == 0) {
    return ProgressStyle::kPlain;
  }
  return IsSet("NO_COLOR") ? ProgressStyle::kTerminal : ProgressStyle::kColours;
}

ProgressDisplay::ProgressDisplay(FILE* out, ProgressStyle style) : out_(out), style_(style) {
  if (style_ != ProgressStyle::kPlain) ticker_ = std::thread([this] { Tick(); });
}

ProgressDisplay::~ProgressDisplay() {
  Abort();
  {
    std::lock_guard<std::mutex> lock(mutex_);
    ended_ = true;
  }
  wake_.notify_all();
  if (ticker_.joinable()) ticker_.join();
}

void ProgressDisplay::Tick() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!ended_) {
    wake_.wait_for(lock, kRedraw);
    if (!ended_ && !current_.empty()) DrawCurrent();
  }
}

void ProgressDisplay::DrawCurrent() {
  PrintLine(Mark::kRunning, current_,
            DurationText(absl::ToInt64Nanoseconds(absl::Now() - started_)), "");
}

void ProgressDisplay::Update(const ControlProgress& progress) {
  const std::string phase = Printable(progress.phase);
  std::lock_guard<std::mutex> lock(mutex_);
  if (progress.state == ControlProgress::State::kStarted) {
    if (current_ == phase) return;
    FinishCurrent();
    current_ = phase;
    started_ = absl::Now();
    if (style_ != ProgressStyle::kPlain) DrawCurrent();
    return;
  }
  if (current_ == phase) current_.clear();
  if (!shown_.insert(phase).second) return;
  PrintLine(Mark::kDone, phase, DurationText(progress.duration_ns), Printable(progress.detail));
}

// The server went on to the next phase. How long this one took exactly, it may say later: a plain
// line waits.
void ProgressDisplay::FinishCurrent() {
  if (current_.empty() || style_ == ProgressStyle::kPlain) return;
  PrintLine(Mark::kDone, current_, DurationText(absl::ToInt64Nanoseconds(absl::Now() - started_)),
            "");
  shown_.insert(current_);
}

void ProgressDisplay::Complete(const JournalEntry& entry) {
  std::lock_guard<std::mutex> lock(mutex_);
  bool failure_shown = entry.failed_phase.empty();
  const auto show_failure = [&](int64_t duration_ns) {
    if (failure_shown) return;
    failure_shown = true;
    PrintLine(Mark::kFailed, Printable(entry.failed_phase), DurationText(duration_ns),
              Printable(entry.code));
  };
  for (const PhaseTime& time : entry.phases) {
    if (time.phase == entry.failed_phase) {
      show_failure(time.duration_ns);
      continue;
    }
    const std::string phase = Printable(time.phase);
    if (!shown_.insert(phase).second) continue;
    if (current_ == phase) current_.clear();
    PrintLine(Mark::kDone, phase, DurationText(time.duration_ns), "");
  }
  show_failure(0);
  current_.clear();
}

void ProgressDisplay::Abort() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (current_.empty()) return;
  PrintLine(Mark::kFailed, current_, DurationText(absl::ToInt64Nanoseconds(absl::Now() - started_)),
            "no answer");
  current_.clear();
}

std::string ProgressDisplay::Glyph(Mark mark) const {
  const char* glyph = mark == Mark::kRunning ? ">" : mark == Mark::kDone ? "+" : "x";
  if (style_ != ProgressStyle::kColours) return glyph;
  const char* colour = mark == Mark::kRunning ? "33" : mark == Mark::kDone ? "32" : "31";
  return absl::StrCat("\x1b[", colour, "m", glyph, "\x1b[0m");
}

void ProgressDisplay::PrintLine(Mark mark, const std::string& phase, const std::string& time,
                                const std::string& detail) {
  if (style_ == ProgressStyle::kPlain) {
    absl::FPrintF(out_, "%s %s: %s%s%s\n", Glyph(mark), phase, time, detail.empty() ? "" : ", ",
                  detail);
  } else {
    std::string text = absl::StrFormat("%-14s %12s  %s", phase, time, detail);
    text.resize(std::min(text.size(), Columns(out_) - 5));
    absl::FPrintF(out_, "\r  %s %s\x1b[K%s", Glyph(mark), text, mark == Mark::kRunning ? "" : "\n");
  }
  fflush(out_);
}

}  // namespace liveexec::cli
