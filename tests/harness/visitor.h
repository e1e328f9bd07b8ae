// Visitor: comes, asks one thing, and goes: what a server's accept queue and half-read requests are
// tested with. Another one comes in its place (load.h).
//
//   kWhole       connects, and sends its request at once
//   kHalfRequest sends a part of it, and the rest up to 60 ms later
//   kHalfOpen    as kHalfRequest, and then ends its own side: the reply must come, and then the end
//   kKnock       connects, and says nothing for up to 60 ms
#ifndef LIVEEXEC_TESTS_HARNESS_VISITOR_H_
#define LIVEEXEC_TESTS_HARNESS_VISITOR_H_

#include <memory>
#include <string>

#include "tests/harness/client.h"
#include "tests/harness/random.h"

namespace liveexec::harness {

// A request and its exact reply.
struct Exchange {
  std::string request;
  std::string reply;
};

class Visitor : public Client {
 public:
  enum class Manner : uint8_t { kWhole, kHalfRequest, kHalfOpen, kKnock };

  Visitor(EventLoop& loop, std::string name, Random random, Manner manner, Exchange exchange)
      : Client(loop, std::move(name)),
        random_(random),
        manner_(manner),
        exchange_(std::move(exchange)) {}

  void Start() override;
  bool finished() const override {
    return !broken_early() && replies() == 1 &&
           (manner_ != Manner::kHalfOpen || closed_by_server());
  }
  bool broken() const override { return broken_early(); }
  bool settled() const override { return broken() || finished(); }
  void OnClosed(const absl::Status& reason) override;

 private:
  bool broken_early() const { return complained() || !check_.intact(); }
  void SendRest();

  Random random_;
  Manner manner_;
  Exchange exchange_;
  size_t cut_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_VISITOR_H_
