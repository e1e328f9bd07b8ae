// ClientFault: a wrong that the victim does to one of its clients, once, if the plan says so. For
// the test of the proofs with which each cell ends: none of this happens to a server that is right.
#ifndef LIVEEXEC_TESTS_FAULTS_VICTIM_CLIENT_FAULT_H_
#define LIVEEXEC_TESTS_FAULTS_VICTIM_CLIENT_FAULT_H_

#include <atomic>
#include <string>
#include <string_view>

#include "handoff/uv/stream.h"

namespace liveexec::faults {

// Its place in the plan (misbehaviour.h) is "clients", its actions are
//   lose-byte     leaves one byte of an echo out      double-byte  sends one twice
//   alter-byte    turns one bit                       drop         closes the connection
//   drop-idle     closes one of a client that asks only to prove that it is there
class ClientFault {
 public:
  // When the program serves: reads the plan.
  void Arm();
  // Any thread. Whether `input` has met with the fault: there is nothing left to answer.
  bool Strikes(uv::Stream& stream, std::string_view input);

 private:
  std::string fault_;
  std::atomic<bool> armed_{false};
};

}  // namespace liveexec::faults

#endif  // LIVEEXEC_TESTS_FAULTS_VICTIM_CLIENT_FAULT_H_
