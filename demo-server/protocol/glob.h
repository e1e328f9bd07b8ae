// Glob patterns as KEYS, SCAN and PSUBSCRIBE take them: * ? [abc] [^a] [a-z] and \ to quote.
#ifndef LIVEEXEC_DEMO_SERVER_PROTOCOL_GLOB_H_
#define LIVEEXEC_DEMO_SERVER_PROTOCOL_GLOB_H_

#include <string_view>

namespace liveexec::demo {

// Takes time proportional to the product of both lengths at worst, whatever the pattern.
bool GlobMatch(std::string_view pattern, std::string_view text, bool ignore_case = false);

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_PROTOCOL_GLOB_H_
