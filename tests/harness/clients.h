// The kinds of client: see client.h for what they have in common.
#ifndef LIVEEXEC_TESTS_HARNESS_CLIENTS_H_
#define LIVEEXEC_TESTS_HARNESS_CLIENTS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/harness/client.h"
#include "tests/harness/random.h"
#include "tests/harness/resp.h"

namespace liveexec::harness {

enum class Protocol : uint8_t {
  kEcho,  // what is sent comes back
  kResp,  // the Redis protocol
};

// Opens a connection and leaves it alone, except to prove now and then that it is alive.
class IdleClient : public Client {
 public:
  IdleClient(EventLoop& loop, std::string name, Protocol protocol, Random random)
      : Client(loop, std::move(name)), protocol_(protocol), random_(random) {}
  // Sends something that nobody else sends, to which settled() waits for the answer.
  void Prove() override;

 private:
  Protocol protocol_;
  Random random_;
};

struct CheckingOptions {
  size_t window = 8;         // records in flight
  size_t max_payload = 300;  // bytes
  bool cut = true;           // the byte stream is cut at random places: see Connection::CutRandomly
  // Between a reply and the next request, at random up to this; zero: none.
  absl::Duration max_think = absl::ZeroDuration();
};

// Writes numbered records to a RESP server, each of a kind whose reply can be known exactly: ECHO
// of a numbered random payload, INCR, RPUSH, APPEND, SET and GET of its own keys. Because the
// replies of INCR, RPUSH and APPEND count, a command that was executed twice, or not at all, shows.
// At the end it reads its keys back.
class RecordClient : public Client {
 public:
  RecordClient(EventLoop& loop, std::string name, Random random, CheckingOptions options);
  void Start() override;
  void Stop() override;

 private:
  void OnReplies() override { FillLater(); }
  void FillLater();
  void Fill();
  void SendRecord();
  void Push();
  void Append();
  void VerifyKeys();
  std::string Payload();

  Random random_;
  CheckingOptions options_;
  std::string key_;
  bool running_ = false;
  bool fill_scheduled_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  uint64_t counter_ = 0;
  std::vector<std::string> list_;
  std::string appended_;
};

// Sends a position-coded stream to an echo server and checks that it comes back.
class EchoClient : public Client {
 public:
  EchoClient(EventLoop& loop, std::string name, Random random, CheckingOptions options);
  void Start() override;
  void Stop() override { running_ = false; }

 private:
  void OnReplies() override { FillLater(); }
  void FillLater();
  void Fill();

  Random random_;
  CheckingOptions options_;
  uint64_t stream_seed_;
  uint64_t sent_ = 0;
  bool running_ = false;
  bool fill_scheduled_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

// Asks for one long reply and takes it slowly, from a small receive buffer, so that the server is
// left with most of it. The reply is `head`, `size` position-coded bytes of `seed`, `tail`.
class SlowReader : public Client {
 public:
  struct Reply {
    std::string head;
    uint64_t seed = 0;
    uint64_t size = 0;
    std::string tail;
  };
  // bytes_per_second 0: reads only when Take is called.
  SlowReader(EventLoop& loop, std::string name, std::string request, Reply reply,
             uint64_t bytes_per_second)
      : Client(loop, std::move(name)),
        request_(std::move(request)),
        reply_(std::move(reply)),
        bytes_per_second_(bytes_per_second) {}
  static DialOptions Dialing() { return {.receive_buffer = 65536}; }

  void Start() override;
  // Reads up to `bytes` of what has come.
  void Take(size_t bytes);
  uint64_t taken() const { return check_.position(); }
  uint64_t total() const { return reply_.head.size() + reply_.size + reply_.tail.size(); }
  bool finished() const override { return taken() == total(); }
  ClientReport Report() override;

 private:
  void OnReplies() override {}
  void ExpectMore();
  void Tick();

  std::string request_;
  Reply reply_;
  uint64_t bytes_per_second_;
  uint64_t generated_ = 0;
  bool tail_expected_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

// Asks for a long reply, does not read it for a while, takes it, and asks again: most of the time
// the server holds bytes for it that the kernel does not take.
class SlowTaker : public Client {
 public:
  // `protocol` kEcho or kResp; `size` bytes each time.
  SlowTaker(EventLoop& loop, std::string name, Protocol protocol, Random random, size_t size)
      : Client(loop, std::move(name)), protocol_(protocol), random_(random), size_(size) {}
  static DialOptions Dialing() { return {.receive_buffer = 16384}; }
  void Start() override { Next(); }
  void Stop() override;

 private:
  void OnReplies() override;
  void Next();

  Protocol protocol_;
  Random random_;
  size_t size_;
  bool running_ = true;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

// Subscribes to channels whose messages are numbers, counting up from 1, and checks that none is
// missing, doubled or out of order.
class Subscriber : public Client {
 public:
  // joins_midway: the first message of each channel may have any number.
  Subscriber(EventLoop& loop, std::string name, std::vector<std::string> channels,
             bool joins_midway = false)
      : Client(loop, std::move(name)),
        channels_(std::move(channels)),
        joins_midway_(joins_midway) {}
  void Start() override;
  uint64_t received(const std::string& channel) const;
  size_t subscribed() const { return subscribed_; }
  // settled() then waits for message number `published` (borrowed) of the first channel, unless
  // this subscriber saw none, because it came too late.
  void ExpectUpTo(const uint64_t& published) { published_ = &published; }
  bool settled() const override;
  ClientReport Report() override;
  void OnBytes(std::string_view bytes) override;

 private:
  void OnMessage(const std::string& channel, const std::string& number);

  std::vector<std::string> channels_;
  bool joins_midway_;
  RespParser parser_;
  size_t subscribed_ = 0;
  std::map<std::string, uint64_t> received_;
  std::vector<std::string> disorder_;
  const uint64_t* published_ = nullptr;
};

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_CLIENTS_H_
