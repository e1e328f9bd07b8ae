#include "demo-server/state/state_format_impl.h"
#include "demo-server/state/v2.capnp.h"

namespace liveexec::demo {
namespace {

struct SchemaV2 {
  static constexpr std::string_view kVersion = "v2";
  static constexpr uint64_t kDataLayoutVersion = demo::kDataLayoutVersion;
  using KeyspaceImage = v2::KeyspaceImage;
  using Key = v2::Key;
  using SessionImage = v2::SessionImage;
};

}  // namespace

const StateFormat& StateFormatV2() {
  static const StateFormatOf<SchemaV2> format;
  return format;
}

}  // namespace liveexec::demo
