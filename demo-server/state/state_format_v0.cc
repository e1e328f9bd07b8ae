#include "demo-server/state/state_format_impl.h"
#include "demo-server/state/v0.capnp.h"

namespace liveexec::demo {
namespace {

struct SchemaV0 {
  static constexpr std::string_view kVersion = "v0";
  static constexpr uint64_t kDataLayoutVersion = kOldDataLayoutVersion;
  using KeyspaceImage = v0::KeyspaceImage;
  using Key = v0::Key;
  using SessionImage = v0::SessionImage;
};

}  // namespace

const StateFormat& StateFormatV0() {
  static const StateFormatOf<SchemaV0> format;
  return format;
}

}  // namespace liveexec::demo
