#include "handoff/rehearsal.h"

#include <errno.h>
#include <sys/random.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/budgets.h"
#include "handoff/candidate_process.h"
#include "handoff/error_code.h"
#include "handoff/exporter.h"
#include "handoff/rehearsal_verdict.h"
#include "handoff/snapshot.h"

namespace liveexec {
namespace {

// Nothing that the candidate tells the supervisor is to be taken for the server's word.
std::vector<std::string> EnvironmentForRehearsal(const Program& program) {
  std::vector<std::string> environment = EnvironmentForNextProgram(program);
  std::erase_if(environment, [](const std::string& variable) {
    return absl::StartsWith(variable, "NOTIFY_SOCKET=");
  });
  return environment;
}

// Whose fault it is: the machine's is not charged to the candidate.
std::string_view CodeOfSpawnError(int error) {
  switch (error) {
    case ETXTBSY:
      return "E_TXTBSY";
    case EAGAIN:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
      return "E_GUARD";
    default:
      return "E_REHEARSAL";
  }
}

}  // namespace

absl::Status Rehearse(Program& program, Attempt& attempt) {
  int64_t snapshot_start_ns = MonotonicNs();
  Successor successor = SuccessorOf(attempt);
  successor.rehearsal = true;
  LIVEEXEC_ASSIGN_OR_RETURN(Exported exported, TakeSnapshot(program, *attempt.inspector, successor,
                                                            nullptr, attempt.ticket.get()));
  for (std::string& note : exported.notes) attempt.entry.notes.push_back(std::move(note));
  for (const Exported::Part& part : exported.parts) {
    if (!part.context->sampled()) continue;
    attempt.entry.notes.push_back(absl::StrCat(
        "only a part of component ", part.name, " was rehearsed: ",
        part.context->left_out() ? "it chose to show no more"
                                 : "the whole of it takes longer to export than rehearsal_slice"));
  }
  int64_t snapshot_ns = MonotonicNs() - snapshot_start_ns;
  LIVEEXEC_RETURN_IF_ERROR(CheckBlackoutBudget(program, attempt, snapshot_ns));
  ImageStamp stamp{.generation = program.generation, .nonce = {}};
  if (getrandom(stamp.nonce.data(), stamp.nonce.size(), 0) !=
      static_cast<ssize_t>(stamp.nonce.size())) {
    return ErrnoError(errno, "getrandom");
  }
  Exporter exporter(program.syscalls, *attempt.inspector, program.note);
  LIVEEXEC_ASSIGN_OR_RETURN(Sealed sealed, exporter.Seal(std::move(exported), stamp,
                                                         DescribeForManifest(program, attempt)));
  LIVEEXEC_RETURN_IF_ERROR(CheckMemoryBudget(attempt, sealed.state_bytes));
  sealed.fds.clear();  // Never the server's own.
  for (const UniqueFd& fd : sealed.lent) sealed.fds.push_back(fd.get());
  LIVEEXEC_ASSIGN_OR_RETURN(FdChannelEnds channel, CreateFdChannel(program.syscalls));
  LIVEEXEC_ASSIGN_OR_RETURN(FlightRecorder recorder, FlightRecorder::Create(program.syscalls));
  LIVEEXEC_ASSIGN_OR_RETURN(Sent sent, exporter.Send(std::move(sealed), std::move(channel),
                                                     recorder.fd(), program.own_image->fd()));
  auto process = CandidateProcess::Spawn(
      {.program = attempt.candidate->image.fd(),
       .channel = sent.channel.receiver.get(),
       .inheritance = {.mode = StartMode::kRehearsal, .channel = 0, .nonce = stamp.nonce},
       .arguments = program.traits.arguments,
       .environment = EnvironmentForRehearsal(program)});
  if (!process.ok()) {
    return WithCode(process.status(), CodeOfSpawnError(ErrnoOf(process.status()).value_or(0)));
  }
  auto status = process->Wait(program.options.rehearsal_deadline,
                              [&] { return attempt.ticket->cancelled(); });
  if (absl::IsCancelled(status.status())) return WithCode(status.status(), "E_CANCELLED");
  if (!status.ok()) {
    return RehearsalRefusal(std::string(status.status().message()), process->output());
  }
  return RehearsalVerdict(*status, recorder, process->output());
}

}  // namespace liveexec
