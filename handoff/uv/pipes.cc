#include "handoff/uv/pipes.h"

#include <fcntl.h>
#include <signal.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/uv/stream_image.h"
#include "handoff/uv/stream_loop.h"

namespace liveexec::uv {
namespace {

// Writing to a pipe without a reader raises SIGPIPE, and unlike send() there is no flag against it.
void IgnoreSigpipeUnlessHandled() {
  struct sigaction now;
  if (sigaction(SIGPIPE, nullptr, &now) == 0 && now.sa_handler == SIG_DFL) signal(SIGPIPE, SIG_IGN);
}

}  // namespace

Pipes::Pipes(std::string name, LoopExecutor& executor, MakeHandler make_handler)
    : name_(std::move(name)), make_handler_(std::move(make_handler)) {
  IgnoreSigpipeUnlessHandled();
  streams_ = new StreamLoop(
      executor,
      {.make_handler =
           [this](Stream& stream) { return make_handler_(names_.at(stream.id()), stream); },
       .on_closed = [this](Stream& stream) { names_.erase(stream.id()); },
       .any_fd = true});
}

Pipes::~Pipes() { streams_->Shutdown(); }

absl::Status Pipes::Open(std::string_view pipe, UniqueFd fd) {
  if (streams_->mode() == StreamLoop::Mode::kQuiesced) {
    return absl::FailedPreconditionError("pipes are quiesced for an upgrade");
  }
  if (!fd) return absl::InvalidArgumentError("there is no fd to open");
  if (Find(pipe) != nullptr) {
    return absl::AlreadyExistsError(absl::StrCat(std::string(pipe), " is open already"));
  }
  if (fcntl(fd.get(), F_SETFD, FD_CLOEXEC) != 0) return ErrnoError(errno, "fcntl");
  const uint64_t id = next_id_++;
  names_.emplace(id, pipe);
  auto stream = streams_->Adopt(std::move(fd), id, 0);
  if (!stream.ok()) {
    names_.erase(id);
    return Annotate(stream.status(), pipe);
  }
  streams_->Begin(**stream);
  return absl::OkStatus();
}

Stream* Pipes::Find(std::string_view pipe) const {
  for (const auto& [id, name] : names_) {
    // One that is being closed keeps its entry until OnClose has returned, but not its name.
    if (name != pipe) continue;
    if (Stream* stream = streams_->Find(id)) return stream;
  }
  return nullptr;
}

absl::Status Pipes::Quiesce() {
  LIVEEXEC_RETURN_IF_ERROR(streams_->Quiesce());
  return absl::OkStatus();
}

void Pipes::Resume() { streams_->Resume(); }

absl::Status Pipes::Export(ExportContext& context) const {
  auto image = context.InitRoot<image::Pipes>();
  image.setNextId(next_id_);
  const std::vector<uint64_t> ids = streams_->Ids();
  auto records = image.initPipes(static_cast<unsigned>(ids.size()));
  for (unsigned i = 0; i < ids.size(); ++i) {
    records[i].setName(names_.at(ids[i]));
    LIVEEXEC_RETURN_IF_ERROR(
        StreamImage::Save(*streams_->Find(ids[i]), records[i].initStream(), context));
  }
  return absl::OkStatus();
}

absl::Status Pipes::Rehydrate(ImportContext& context) {
  LIVEEXEC_ASSIGN_OR_RETURN(const auto image, context.Root<image::Pipes>());
  next_id_ = std::max<uint64_t>(image.getNextId(), 1);
  for (image::Pipes::Pipe::Reader record : image.getPipes()) {
    const uint64_t id = record.getStream().getId();
    if (id == 0 || !names_.emplace(id, std::string(record.getName())).second) {
      return absl::DataLossError(absl::StrCat("pipe ", id, " has an impossible record"));
    }
    next_id_ = std::max(next_id_, id + 1);
    LIVEEXEC_ASSIGN_OR_RETURN(UniqueFd fd, context.TakeFd("stream", id));
    LIVEEXEC_RETURN_IF_ERROR(streams_->Adopt(std::move(fd), record.getStream()).status());
  }
  return absl::OkStatus();
}

void Pipes::Activate() { streams_->Serve(); }

}  // namespace liveexec::uv
