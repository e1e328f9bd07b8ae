// Printable forms of byte strings.
#ifndef LIVEEXEC_DEMO_SERVER_PROTOCOL_QUOTE_H_
#define LIVEEXEC_DEMO_SERVER_PROTOCOL_QUOTE_H_

#include <string>
#include <string_view>

namespace liveexec::demo {

// "in double quotes", with \n, \x01 and so on for what does not print: MONITOR.
std::string Quote(std::string_view bytes);

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_PROTOCOL_QUOTE_H_
