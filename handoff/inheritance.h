// How this program was started: fresh, or by an exec that hands something over.
//
// The one thing that crosses by inheritance is the channel's receiving end, announced in the
// environment variable LIVEEXEC_CHANNEL = "<fd>:<mode>:<nonce, 32 hexadecimal digits>". It is taken
// and removed before main(), so that neither the application nor its children ever see it.
#ifndef LIVEEXEC_HANDOFF_INHERITANCE_H_
#define LIVEEXEC_HANDOFF_INHERITANCE_H_

#include <optional>
#include <string>
#include <string_view>

#include "core/unique_fd.h"
#include "handoff/image_file.h"

namespace liveexec {

enum class StartMode {
  kFresh,         // nobody handed anything over
  kUpgrade,       // exec'd by the old program
  kRollback,      // the old program, exec'd again by a new one that failed
  kResurrection,  // the old program, started again by the custodian in a new process
  kRehearsal,     // spawned by a running program: decode its state, report, end
};
std::string_view StartModeName(StartMode mode);  // "fresh", "upgrade", ...

struct Inheritance {
  StartMode mode = StartMode::kFresh;
  int channel = -1;  // borrowed
  Nonce nonce = {};
};

inline constexpr char kChannelVariable[] = "LIVEEXEC_CHANNEL";

// "LIVEEXEC_CHANNEL=7:upgrade:00112233445566778899aabbccddeeff"
std::string ChannelVariable(const Inheritance& inheritance);

// The value part of it; nothing when it is malformed.
std::optional<Inheritance> ParseChannelVariable(std::string_view value);

// Takes the variable out of `environment` (envp, as main() gets it), once, before main(). Needs
// nothing of libc that is set up later than memory and thread-local storage.
void TakeInheritance(char** environment);

// What this process was started with. The channel's owner is the process.
const Inheritance& ProcessInheritance();

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_INHERITANCE_H_
