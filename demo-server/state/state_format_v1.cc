#include "demo-server/state/state_format_impl.h"
#include "demo-server/state/v1.capnp.h"

namespace liveexec::demo {
namespace {

struct SchemaV1 {
  static constexpr std::string_view kVersion = "v1";
  static constexpr uint64_t kDataLayoutVersion = demo::kDataLayoutVersion;
  using KeyspaceImage = v1::KeyspaceImage;
  using Key = v1::Key;
  using SessionImage = v1::SessionImage;
};

}  // namespace

const StateFormat& StateFormatV1() {
  static const StateFormatOf<SchemaV1> format;
  return format;
}

}  // namespace liveexec::demo
