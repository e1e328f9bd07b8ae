#include "handoff/upgrader.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/clock.h"
#include "core/error.h"
#include "handoff/arrival.h"
#include "handoff/candidate.h"
#include "handoff/custodian.h"
#include "handoff/doctor.h"
#include "handoff/error_code.h"
#include "handoff/framework_thread.h"
#include "handoff/guarded_call.h"
#include "handoff/rehearsal_candidate.h"
#include "handoff/rollback.h"
#include "handoff/signal_mask.h"
#include "handoff/symbol.h"
#include "handoff/upgrader_impl.h"
#include "handoff/wreckage.h"

namespace liveexec {
namespace {

std::atomic<bool> exists{false};

// argv[0] as an absolute path, if it is a path and still leads to this program; else what /proc
// says, which has symbolic links resolved.
std::string StartedFrom(const Program& program) {
  const auto& arguments = program.traits.arguments;
  if (arguments.empty() || arguments[0].find('/') == std::string::npos) {
    return program.own_image->path();
  }
  std::error_code error;
  std::string path = std::filesystem::absolute(arguments[0], error).string();
  auto image = PinnedImage::Open(program.syscalls, path);
  bool same = !error && image.ok() && image->identity() == program.own_image->identity();
  return same ? path : program.own_image->path();
}

// After a crash of the new program: adds where it was. False when that cannot be had.
bool NameFunction(Program& program, JournalEntry& entry) {
  FlightReport report = *program.failure;
  if (report.failure != FailureKind::kSignal || report.instruction == 0) return false;
  UniqueFd file(program.syscalls.Open(entry.binary.c_str(), O_RDONLY | O_CLOEXEC));
  auto identity = IdentityOf(program.syscalls, file.get());
  // By now it may be another file.
  if (!identity.ok() || IdentityText(*identity) != entry.binary_identity) return false;
  report.function = FunctionAt(file.get(), report.instruction);
  entry.message = report.Sentence();
  return true;
}

}  // namespace

UpgraderImpl::~UpgraderImpl() {
  *existence_ = false;
  program_.ending = true;
  if (conductor_ != nullptr) conductor_->Stop();
  // Tasks that wait for the blackout of an attempt under way outlive this object: they find its
  // ticket cancelled.
  if (ticket_ != nullptr) ticket_->Cancel();
  // It posts to the conductor, which exists for as long as this object.
  if (preparing_.joinable()) preparing_.join();
  supervision_.Stopped();
  exists = false;
}

absl::Status UpgraderImpl::Initialize() {
  LIVEEXEC_ASSIGN_OR_RETURN(program_.note, OwnProgramNote());
  if (fresh()) {  // Otherwise the manifest has them, as they were in the first program.
    LIVEEXEC_ASSIGN_OR_RETURN(program_.traits, ProcessTraits::Capture(program_.syscalls));
  }
  LIVEEXEC_ASSIGN_OR_RETURN(program_.own_image, PinnedImage::OfThisProcess(program_.syscalls));
  program_.default_binary = StartedFrom(program_);
  program_.started_unix_ns = UnixNs();
  program_.process_started_unix_ns = program_.started_unix_ns;
  if (program_.options.upgrade_signal != 0) {
    KeepSignalBlocked(program_.options.upgrade_signal);
  }
  control_ = std::make_unique<ControlServer>(program_.options.control_socket, MakeHandlers());
  return Register(*control_);
}

absl::Status UpgraderImpl::Register(Component& component) {
  std::string name(component.name());
  if (started_) return absl::FailedPreconditionError("components are registered before Start");
  for (Component* other : program_.components) {
    if (other->name() == name) {
      return absl::AlreadyExistsError(absl::StrCat("there is a component ", name, " already"));
    }
  }
  if (program_.note.FindComponent(name) == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("component ", name, " is not in this program's manifest note; add ",
                     "LIVEEXEC_COMPONENT(\"", name, "\", 1, 1); beside its definition"));
  }
  program_.components.push_back(&component);
  return absl::OkStatus();
}

void UpgraderImpl::AddThread(Executor& executor) {
  ++threads_;
  program_.parking.Add(executor);
}

void UpgraderImpl::RemoveThread(Executor& executor) {
  program_.parking.Remove(executor);
  --threads_;
}

absl::Status UpgraderImpl::Start() {
  if (started_) return absl::FailedPreconditionError("Start was called before");
  started_ = true;
  absl::Status status = CheckRollbackArmed();
  if (status.ok()) {
    status = program_.parking.Park(Parking::For::kSnapshot, program_.options.rehydrate_deadline);
  }
  // A rehearsal touches the other threads' loops as well, so it too needs them to stand still.
  if (status.ok() && inheritance_.mode == StartMode::kRehearsal) {
    EndRehearsal(program_, inheritance_);
  }
  // What may fail comes before the commit, after which there is no way back.
  if (status.ok()) status = WithCode(MakeConductor(), "E_FDS");
  if (status.ok()) status = fresh() ? StartFresh() : Arrive(program_, inheritance_);
  if (!status.ok()) RollBack(status);  // Does not return if there is a way back.
  program_.parking.Release();
  if (!status.ok()) return fresh() ? status : WithWreckage(status);
  if (fresh()) {
    supervision_.Started();
    return conductor_->Start();
  }
  conductor_->Post([this] {
    TellOfArrival();
    Reap();
  });
  StartConductor();
  return absl::OkStatus();
}

// There is no way back: the old program failed on its own state.
absl::Status UpgraderImpl::WithWreckage(const absl::Status& status) {
  auto directory = KeepWreckage(program_.syscalls, inheritance_);
  std::string where =
      directory.ok() ? "its state is in " + *directory
                     : "its state could not be kept: " + std::string(directory.status().message());
  return WithCode(
      Annotate(status, absl::StrCat("the handed-over state could not be taken over (", where, ")")),
      "E_LOST");
}

absl::Status UpgraderImpl::StartFresh() {
  supervision_.TakeOverJournal();
  for (Component* component : program_.components) {
    LIVEEXEC_RETURN_IF_ERROR(
        GuardedCall(absl::StrCat("initialize component ", std::string(component->name())),
                    [&] { return component->Initialize(); }));
  }
  for (Component* component : program_.components) component->Activate();
  return absl::OkStatus();
}

absl::Status UpgraderImpl::MakeConductor() {
  // A guest answers when its host's loop turns. In a process that has several threads all the same
  // that price would buy nothing.
  const bool may_be_guest = program_.parking.size() == 0 && !program_.options.own_thread;
  Conductor::Options options{.control = control_.get(),
                             .upgrade_signal = program_.options.upgrade_signal,
                             .host = may_be_guest ? &program_.main : nullptr,
                             .parking = &program_.parking};
  options.on_signal = [this] {
    auto attempt = std::make_unique<Attempt>();
    attempt->request.trigger = "signal";
    // Nobody waits for an answer: a refusal is in the journal.
    (void)Begin(std::move(attempt));
  };
  auto conductor = Conductor::Create(options);
  // A new program that cannot have what its predecessor had goes back. There is no further back for
  // one that was gone back to: it makes do with a thread.
  if (!conductor.ok() && inheritance_.mode != StartMode::kUpgrade) {
    options.host = nullptr;
    conductor = Conductor::Create(options);
  }
  LIVEEXEC_ASSIGN_OR_RETURN(conductor_, std::move(conductor));
  program_.own_fds = conductor_->OwnFds();
  return absl::OkStatus();
}

// After the commit. If there is no thread to be had, there will be one again: clients are served.
void UpgraderImpl::StartConductor() {
  if (conductor_->Start().ok()) return;
  program_.main.Post([this, exists = existence_] {
    if (*exists) StartConductor();
  });
}

// The supervisor first: it may take the requester's end for that of its own reload.
void UpgraderImpl::TellOfArrival() {
  const absl::Status told = CatchingCall("tell of the upgrade", [this] {
    JournalEntry entry;
    {
      std::lock_guard lock(program_.mutex);
      if (program_.journal.entries().empty()) return absl::OkStatus();
      entry = program_.journal.entries().back();
    }
    if (program_.failure && NameFunction(program_, entry)) {
      std::lock_guard lock(program_.mutex);
      program_.journal.ReplaceLast(entry);
    }
    supervision_.Upgraded(entry);
    AnswerWaiting(entry);
    return absl::OkStatus();
  });
  // There is no memory for it now: those who wait, wait.
  if (!told.ok()) conductor_->SetTimer(absl::Milliseconds(10), [this] { TellOfArrival(); });
}

// The requester's connection crossed; the answer comes from the program that serves in the end.
void UpgraderImpl::AnswerWaiting(const JournalEntry& entry) {
  for (ControlServer::ConnectionId requester : control_->Waiting()) {
    for (const PhaseTime& phase : entry.phases) {
      if (phase.phase == entry.failed_phase) continue;  // The result tells of it.
      control_->SendProgress(requester, {.phase = phase.phase,
                                         .state = ControlProgress::State::kFinished,
                                         .duration_ns = phase.duration_ns});
    }
    control_->SendResult(requester, entry);
  }
}

// The custodian takes its time to end: it returns the old program's memory.
void UpgraderImpl::Reap() {
  // Taken, so that the preparing thread does not wait for it, or kill it, at the same time.
  const pid_t pid = program_.custodian_to_reap.exchange(0);
  if (pid == 0 || ReapCustodian(pid)) return;
  program_.custodian_to_reap = pid;
  conductor_->SetTimer(absl::Milliseconds(10), [this] { Reap(); });
}

ControlServer::Handlers UpgraderImpl::MakeHandlers() {
  ControlServer::Handlers handlers;
  handlers.status = [this] { return Status(); };
  handlers.history = [this](uint32_t limit) { return History(limit); };
  handlers.cancel = [this] { return Cancel(); };
  // It looks at every fd, and waits for the main thread: not for this one, if it is that.
  handlers.may_wait = [this] {
    return conductor_->on_own_thread() || !conductor_->TakeNextTurnOnThread();
  };
  handlers.doctor = [this]() -> absl::StatusOr<std::string> {
    // This thread would wait for a snapshot while the upgrade waits for this thread.
    if (busy_) return Busy();
    Executor* here = conductor_.get();
    if (!conductor_->on_own_thread()) here = &program_.main;
    LIVEEXEC_ASSIGN_OR_RETURN(std::vector<Finding> findings, Diagnose(program_, here));
    return FormatFindings(findings);
  };
  handlers.upgrade = [this](ControlServer::ConnectionId requester, const ControlUpgrade& wanted) {
    auto attempt = std::make_unique<Attempt>();
    attempt->request = {.binary = wanted.binary,
                        .to_previous = wanted.to_previous,
                        .sha256 = wanted.sha256,
                        .allow_downgrade = wanted.allow_downgrade,
                        .max_blackout = wanted.max_blackout,
                        .trigger = "control"};
    attempt->requester = requester;
    return Begin(std::move(attempt));
  };
  return handlers;
}

ControlStatus UpgraderImpl::Status() {
  ControlStatus status;
  status.program = program_.note;
  status.pid = static_cast<uint32_t>(getpid());
  status.generation = program_.generation;
  status.started_unix_ns = program_.process_started_unix_ns;
  status.program_started_unix_ns = program_.started_unix_ns;
  status.threads = threads_;
  auto phase = static_cast<Phase>(phase_.load());
  if (phase != Phase::kIdle) status.phase = std::string(PhaseName(phase));
  status.upgrade_binary = program_.DefaultBinary();
  status.control_path = control_->path();
  std::lock_guard lock(program_.mutex);
  if (!program_.journal.entries().empty()) status.last_result = program_.journal.entries().back();
  return status;
}

std::vector<JournalEntry> UpgraderImpl::History(uint32_t limit) {
  std::lock_guard lock(program_.mutex);
  const auto& entries = program_.journal.entries();
  size_t count = limit == 0 ? entries.size() : std::min<size_t>(limit, entries.size());
  return {entries.end() - static_cast<std::ptrdiff_t>(count), entries.end()};
}

absl::Status UpgraderImpl::Cancel() {
  if (!busy_) {
    return CodedError("E_IDLE", absl::StatusCode::kFailedPrecondition, "no upgrade is under way");
  }
  // The preparing thread finds its ticket cancelled when it has finished.
  if (waiting_ == nullptr) {
    ticket_->Cancel();
    return absl::OkStatus();
  }
  // Lost the race against the main thread: the blackout is over, and its result is on its way here;
  // or it is tried again.
  const absl::Status reason = CatchingCall("cancel", Cancelled);
  if (!waiting_->Cancel()) {
    return CodedError("E_IDLE", absl::StatusCode::kFailedPrecondition,
                      "the upgrade is past the point where it can be cancelled");
  }
  Abandon(reason);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Upgrader>> Upgrader::Create(Executor& main,
                                                           UpgraderOptions options) {
  if (exists.exchange(true)) {
    return absl::FailedPreconditionError("this process has an Upgrader already");
  }
  auto upgrader = std::make_unique<UpgraderImpl>(main, std::move(options));
  LIVEEXEC_RETURN_IF_ERROR(upgrader->Initialize());
  return upgrader;
}

}  // namespace liveexec
