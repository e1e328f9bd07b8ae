// What CONFIG SET accepts as values of which parameter.
#ifndef LIVEEXEC_DEMO_SERVER_ENGINE_CONFIG_VALUES_H_
#define LIVEEXEC_DEMO_SERVER_ENGINE_CONFIG_VALUES_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace liveexec::demo {

// "1024", "100kb", "1mb", "2g" in bytes: k is 1000, kb 1024. False for anything else.
bool ParseMemory(std::string_view text, int64_t* bytes);

// How much output a client may have that it has not taken: more than `hard` at any time, or more
// than `soft` for `soft_seconds`, and the connection is closed. Bytes; 0 for no limit.
struct OutputLimit {
  int64_t hard = 0;
  int64_t soft = 0;
  int64_t soft_seconds = 0;
};

// The classes of client-output-buffer-limit; there are no replicas, but their limits are kept.
struct OutputLimits {
  OutputLimit normal;
  OutputLimit replica;
  OutputLimit pubsub;
};
// Changes the classes that `text` names. Returns an error as CONFIG SET words it, or "".
std::string ReadOutputLimits(std::string_view text, OutputLimits* limits);
std::string FormatOutputLimits(const OutputLimits& limits);

// Makes `value`, given for parameter `name` that now has `current`, what is to be kept. Returns an
// error as CONFIG SET words it, or "".
std::string NormalizeParameter(std::string_view name, std::string_view current, std::string& value);

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_ENGINE_CONFIG_VALUES_H_
