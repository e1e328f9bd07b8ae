// HttpClient: GETs one path again and again over one HTTP/1.1 connection that is kept alive.
//
// Each response must be whole, have the status and the body of the first that this client got, and
// answer a request: bytes without a request are answered-twice.
#ifndef LIVEEXEC_TESTS_HARNESS_HTTP_CLIENT_H_
#define LIVEEXEC_TESTS_HARNESS_HTTP_CLIENT_H_

#include <memory>
#include <optional>
#include <string>

#include "tests/harness/client.h"
#include "tests/harness/http.h"
#include "tests/harness/random.h"

namespace liveexec::harness {

struct HttpOptions {
  std::string host = "localhost";
  std::string path = "/";
  absl::Duration max_think = absl::Milliseconds(4);  // between a response and the next request
  bool same_body = true;        // a response whose body differs from the first one's is wrong
  bool only_on_demand = false;  // asks when Prove() is called, and is idle otherwise
  int requests = 0;             // then it is finished; 0: goes on until Stop
  bool halves = false;          // sends each request in two parts, some milliseconds apart
};

class HttpClient : public Client {
 public:
  HttpClient(EventLoop& loop, std::string name, Random random, HttpOptions options)
      : Client(loop, std::move(name)), random_(random), options_(std::move(options)) {}

  void Start() override;
  void Stop() override { running_ = false; }
  void Prove() override;
  bool finished() const override { return options_.requests > 0 && answered_ >= options_.requests; }
  bool settled() const override { return broken() || !sent_ns_; }
  bool broken() const override { return Client::broken() || complained(); }
  void OnBytes(std::string_view bytes) override;
  void OnClosed(const absl::Status& reason) override;

 private:
  void Ask();
  void AskLater();
  void OnResponse(const HttpResponse& response);

  Random random_;
  HttpOptions options_;
  HttpParser parser_;
  std::optional<int64_t> sent_ns_;  // of the request under way
  std::optional<HttpResponse> first_;
  bool running_ = true;
  bool announced_ = false;  // the server said that it will close
  int answered_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_HTTP_CLIENT_H_
