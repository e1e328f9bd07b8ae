// Text in Cap'n Proto messages, with NULs in it: capnp's own conversion of a std::string ends at
// the first one.
#ifndef LIVEEXEC_HANDOFF_CAPNP_TEXT_H_
#define LIVEEXEC_HANDOFF_CAPNP_TEXT_H_

#include <capnp/blob.h>

#include <string>

namespace liveexec {

// Valid for as long as `text` is.
inline capnp::Text::Reader AsText(const std::string& text) { return {text.c_str(), text.size()}; }
inline std::string AsString(capnp::Text::Reader text) { return {text.cStr(), text.size()}; }

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_CAPNP_TEXT_H_
