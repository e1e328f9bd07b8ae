#include "tests/faults/victim/client_fault.h"

#include "tests/faults/victim/misbehaviour.h"

namespace liveexec::faults {
namespace {

constexpr std::string_view kIdleClient = "alive-";  // how its requests begin
constexpr size_t kFewBytes = 8;

}  // namespace

void ClientFault::Arm() {
  fault_ = PlanFor("clients");
  armed_ = !fault_.empty();
}

bool ClientFault::Strikes(uv::Stream& stream, std::string_view input) {
  if (!armed_ || input.size() < kFewBytes) return false;
  const bool idle = input.substr(0, kIdleClient.size()) == kIdleClient;
  if (idle != (fault_ == "drop-idle") || !armed_.exchange(false)) return false;
  if (fault_ == "drop" || fault_ == "drop-idle") {
    stream.Close();
    return true;
  }
  std::string bytes(input);
  const size_t middle = bytes.size() / 2;
  if (fault_ == "lose-byte") bytes.erase(middle, 1);
  if (fault_ == "double-byte") bytes.insert(middle, 1, bytes[middle]);
  if (fault_ == "alter-byte") bytes[middle] = static_cast<char>(bytes[middle] ^ 1);
  stream.Write(bytes).IgnoreError();
  return true;
}

}  // namespace liveexec::faults
