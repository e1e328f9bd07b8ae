// Between byte strings and Cap'n Proto's Data.
#ifndef LIVEEXEC_DEMO_SERVER_STATE_BYTES_H_
#define LIVEEXEC_DEMO_SERVER_STATE_BYTES_H_

#include <capnp/blob.h>
#include <capnp/list.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace liveexec::demo {

// Data ends at 2^29-1 bytes, one less than the longest string.
inline constexpr size_t kLongestPiece = size_t{1} << 28;

inline capnp::Data::Reader ToData(std::string_view bytes) {
  return {reinterpret_cast<const capnp::byte*>(bytes.data()), bytes.size()};
}
inline std::string_view FromData(capnp::Data::Reader data) {
  return {reinterpret_cast<const char*>(data.begin()), data.size()};
}

inline size_t PiecesOf(std::string_view bytes) {
  return (bytes.size() + kLongestPiece - 1) / kLongestPiece;
}
inline void WritePieces(std::string_view bytes, capnp::List<capnp::Data>::Builder pieces) {
  for (unsigned i = 0; i < pieces.size(); ++i) {
    pieces.set(i, ToData(bytes.substr(i * kLongestPiece, kLongestPiece)));
  }
}
template <typename String>
void ReadPieces(capnp::List<capnp::Data>::Reader pieces, String& bytes) {
  for (auto piece : pieces) bytes.append(FromData(piece));
}

template <typename Strings>
void WriteList(const Strings& strings, capnp::List<capnp::Data>::Builder list) {
  unsigned i = 0;
  for (const auto& text : strings) list.set(i++, ToData(text));
}
inline std::vector<std::string> ReadList(capnp::List<capnp::Data>::Reader list) {
  std::vector<std::string> strings;
  strings.reserve(list.size());
  for (auto text : list) strings.emplace_back(FromData(text));
  return strings;
}

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_STATE_BYTES_H_
