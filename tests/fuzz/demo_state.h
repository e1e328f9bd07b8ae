// demo-server's state for fuzz targets: its formats, and exports in a form that can be compared.
#ifndef LIVEEXEC_TESTS_FUZZ_DEMO_STATE_H_
#define LIVEEXEC_TESTS_FUZZ_DEMO_STATE_H_

#include <string>

#include "demo-server/state/state_format.h"
#include "demo-server/testing/engine_harness.h"

namespace liveexec::fuzz {

// Of version 0, 1 or 2.
const demo::StateFormat& FormatOf(int version);

// What `format` writes, as bytes.
std::string KeyspaceExport(const demo::StateFormat& format, const demo::Engine& engine);
std::string SessionExport(const demo::StateFormat& format, const demo::Session& session);

// The same of a session whose channels are in the order of their names: that of a hash set differs
// from set to set.
std::string Comparable(const demo::StateFormat& format, const demo::Session& session);

}  // namespace liveexec::fuzz

#endif  // LIVEEXEC_TESTS_FUZZ_DEMO_STATE_H_
