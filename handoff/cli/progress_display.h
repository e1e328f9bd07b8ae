// ProgressDisplay: an upgrade's phases as they happen.
//
// On a terminal the current phase's line is drawn again in place with its elapsed time, ten times a
// second by a thread of the display's own; otherwise each finished phase is one plain line. The
// calls come from one thread; the destructor ends the drawing.
#ifndef LIVEEXEC_HANDOFF_CLI_PROGRESS_DISPLAY_H_
#define LIVEEXEC_HANDOFF_CLI_PROGRESS_DISPLAY_H_

#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "absl/time/time.h"
#include "handoff/control_frame.h"
#include "handoff/journal.h"

namespace liveexec::cli {

enum class ProgressStyle {
  kPlain,     // one line for each finished phase
  kTerminal,  // redrawn in place, without colours
  kColours,
};

// What suits `out`: plain unless it is a terminal and TERM is not "dumb"; no colours if NO_COLOR is
// set.
ProgressStyle ProgressStyleFor(FILE* out);

class ProgressDisplay {
 public:
  // `out` is borrowed.
  ProgressDisplay(FILE* out, ProgressStyle style);
  ~ProgressDisplay();
  ProgressDisplay(const ProgressDisplay&) = delete;
  ProgressDisplay& operator=(const ProgressDisplay&) = delete;

  void Update(const ControlProgress& progress);

  // Shows the phases of `entry` that were not reported while they happened (a stopped server
  // reports nothing), and the one that failed.
  void Complete(const JournalEntry& entry);

  // Ends the current line, if any: what comes next stands on its own.
  void Abort();

 private:
  enum class Mark { kRunning, kDone, kFailed };

  void Tick();
  // These with mutex_ held.
  void DrawCurrent();
  void FinishCurrent();
  void PrintLine(Mark mark, const std::string& phase, const std::string& time,
                 const std::string& detail);
  std::string Glyph(Mark mark) const;

  FILE* const out_;
  const ProgressStyle style_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool ended_ = false;
  std::string current_;  // the phase that was started and has not finished; empty: none
  absl::Time started_;
  std::set<std::string> shown_;
  std::thread ticker_;  // only on a terminal
};

}  // namespace liveexec::cli

#endif  // LIVEEXEC_HANDOFF_CLI_PROGRESS_DISPLAY_H_
