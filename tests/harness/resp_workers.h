// RESP clients that share keys, or wait for times: what single clients with keys of their own
// cannot find out.
//
//   SharedKeyClient  reads, writes and adds to keys that several clients use, into a History that
//                    CheckLinearizable judges afterwards
//   TimerClient      BLPOPs a list that stays empty, with a timeout: the answer must come in time
//   Publisher        publishes 1, 2, 3... to a channel that a Subscriber (clients.h) counts
#ifndef LIVEEXEC_TESTS_HARNESS_RESP_WORKERS_H_
#define LIVEEXEC_TESTS_HARNESS_RESP_WORKERS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/harness/client.h"
#include "tests/harness/history.h"
#include "tests/harness/random.h"
#include "tests/harness/resp.h"

namespace liveexec::harness {

// One command at a time, and what is done with its reply.
class RespWorker : public Client {
 public:
  RespWorker(EventLoop& loop, std::string name, Random random)
      : Client(loop, std::move(name)), random_(random) {}

  void Start() override { Next(); }
  void Stop() override { running_ = false; }
  bool settled() const override { return broken() || !sent_ns_; }
  bool broken() const override { return Client::broken() || complained(); }
  void OnBytes(std::string_view bytes) override;

 protected:
  // Sends the next command with Command().
  virtual void Next() = 0;
  virtual void OnValue(const RespValue& value, int64_t sent_ns) = 0;
  void Command(const std::vector<std::string>& command);
  // Next() after a while.
  void NextAfter(absl::Duration delay);
  bool waiting() const { return sent_ns_.has_value(); }

  Random random_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

 private:
  RespParser parser_;
  std::optional<int64_t> sent_ns_;
  bool running_ = true;
};

class SharedKeyClient final : public RespWorker {
 public:
  // `history` is borrowed. Keys are "<prefix>:register:N" and "<prefix>:counter:N", N below `keys`.
  SharedKeyClient(EventLoop& loop, std::string name, Random random, int number, std::string prefix,
                  int keys, History& history)
      : RespWorker(loop, std::move(name), random),
        number_(number),
        prefix_(std::move(prefix)),
        keys_(keys),
        history_(history) {}
  void OnClosed(const absl::Status& reason) override;

 private:
  void Next() override;
  void OnValue(const RespValue& value, int64_t sent_ns) override;

  int number_;
  std::string prefix_;
  int keys_;
  History& history_;
  std::optional<History::Id> operation_;
};

class TimerClient final : public RespWorker {
 public:
  // `progress` grows as the server answers others; a timer is overdue only when it has.
  TimerClient(EventLoop& loop, std::string name, Random random, std::function<uint64_t()> progress)
      : RespWorker(loop, std::move(name), random), progress_(std::move(progress)) {}
  void Start() override;
  // So late a timer may be: in turns of our own loop, one each 50 ms or later, so that time in
  // which we did not run does not count, and in answers to others, for the server's.
  static constexpr int kSlackTurns = 80;
  static constexpr uint64_t kSlackProgress = 30;

 private:
  void Next() override;
  void OnValue(const RespValue& value, int64_t sent_ns) override;
  void Watch();

  int64_t timeout_ms_ = 0;
  int64_t due_ns_ = 0;
  std::function<uint64_t()> progress_;
  int late_turns_ = 0;
  uint64_t progress_when_due_ = 0;
};

class Publisher final : public RespWorker {
 public:
  Publisher(EventLoop& loop, std::string name, Random random, std::string channel,
            uint64_t& last_number, uint64_t& last_acknowledged)
      : RespWorker(loop, std::move(name), random),
        channel_(std::move(channel)),
        number_(last_number),
        acknowledged_(last_acknowledged) {}

 private:
  void Next() override;
  void OnValue(const RespValue& value, int64_t sent_ns) override;

  std::string channel_;
  // Borrowed: the next publisher in this seat goes on counting.
  uint64_t& number_;
  uint64_t& acknowledged_;
};

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_RESP_WORKERS_H_
