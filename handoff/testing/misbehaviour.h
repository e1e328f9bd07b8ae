// What a new program can do wrong between exec and commit.
//
// Which fault a victim has stands in the last bytes of its file: so one build serves for all, and a
// program that was exec'd by an fd knows its own all the same.
#ifndef LIVEEXEC_HANDOFF_TESTING_MISBEHAVIOUR_H_
#define LIVEEXEC_HANDOFF_TESTING_MISBEHAVIOUR_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace liveexec {

// The trailer: kFaultMark, then the fault's name, padded with zeros to kFaultSize bytes.
inline constexpr std::string_view kFaultMark = "liveexec-fault:";
inline constexpr size_t kFaultSize = 64;

// The fault of the program that runs in this process; empty: none. It is had only in a program that
// was handed something: started fresh, or again, the same file behaves.
std::string Fault();

// Misbehaves if the fault is "PLACE:WHAT" for this `place`; otherwise ok. WHAT is one of
//   null abort throw int terminate stack hang exit0 exit7 quick fpe ill bus error coded thread
//   title
absl::Status Misbehave(std::string_view place);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_TESTING_MISBEHAVIOUR_H_
