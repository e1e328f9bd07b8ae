// HTTP/1.1 responses, as a client sees them, parsed as they arrive.
//
//   HttpParser parser;
//   parser.Feed(bytes);
//   while (true) {
//     auto response = parser.Next();      // StatusOr<optional<HttpResponse>>
//     if (!response.ok()) ...             // DataLoss: not HTTP
//     if (!response->has_value()) break;  // more bytes are needed
//   }
//
// To GET requests only: a HEAD's response looks like one that waits for its body. Bodies have a
// Content-Length or are chunked; without either they are empty, because nothing else can be told
// apart on a connection that is kept. Bounded: 64 KiB of head, 512 MiB of body.
#ifndef LIVEEXEC_TESTS_HARNESS_HTTP_H_
#define LIVEEXEC_TESTS_HARNESS_HTTP_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace liveexec::harness {

struct HttpResponse {
  int status = 0;
  std::string body;
  bool closes = false;  // "Connection: close": the server announces the connection's end
};

class HttpParser {
 public:
  void Feed(std::string_view bytes) { buffer_.append(bytes); }
  absl::StatusOr<std::optional<HttpResponse>> Next();
  size_t buffered() const { return buffer_.size(); }

 private:
  std::string buffer_;
};

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_HTTP_H_
