// What the hazardous server knows of its plugin: one function that hands out pointers into it.
#ifndef LIVEEXEC_TESTS_E2E_HAZARDS_PLUGIN_H_
#define LIVEEXEC_TESTS_E2E_HAZARDS_PLUGIN_H_

#include <atomic>
#include <cstdint>

namespace liveexec::hazards {

// An object whose functions are the plugin's.
class Rule {
 public:
  virtual ~Rule() = default;
  virtual int64_t Apply(int64_t state) const = 0;
};

// Everything here points into the plugin: unloading it would leave each of these dangling.
struct PluginApi {
  const char* revision;                 // data; "0042"
  int64_t (*apply)(int64_t state);      // code
  const Rule* rule;                     // an object of a class that the plugin defines
  const std::atomic<int64_t>* ticks;    // written by a thread of the plugin's
  const std::atomic<int>* threads;      // how many stand in the plugin's code
  const std::atomic<int>* destructors;  // how many objects wait for theirs
  void (*touch_thread_local)();         // gives the calling thread an object with a destructor
};

// Exported by the plugin under kPluginEntry. Starts its threads, registers its exit handlers, leaks
// its guard. Whatever of it runs at an end writes a line to the file `trap`.
using PluginEntry = const PluginApi* (*)(const char* trap);
inline constexpr char kPluginEntry[] = "liveexec_test_plugin";

}  // namespace liveexec::hazards

#endif  // LIVEEXEC_TESTS_E2E_HAZARDS_PLUGIN_H_
