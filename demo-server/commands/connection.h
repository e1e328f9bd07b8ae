// What is common to the commands about connections.
#ifndef LIVEEXEC_DEMO_SERVER_COMMANDS_CONNECTION_H_
#define LIVEEXEC_DEMO_SERVER_COMMANDS_CONNECTION_H_

#include <string_view>

namespace liveexec::demo {

// The release whose behaviour this server has; client libraries choose by it.
inline constexpr std::string_view kRedisVersion = "7.0.15";

inline constexpr std::string_view kBadClientName =
    "ERR Client names cannot contain spaces, newlines or special characters.";

bool ValidClientName(std::string_view name);

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_COMMANDS_CONNECTION_H_
