// A SIMULATED accelerator: torch's PrivateUse1 device whose memory is the host's and whose kernels are the CPU's. It shows
// where tensors are, as on a GPU: what mixes a tensor of the CPU with one of the device is refused. It is slow, and its
// numbers are the CPU's.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/autocast_mode.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_copy_from_and_resize_native.h>
#include <ATen/ops/_local_scalar_dense_native.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/copy_native.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/resize_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/alloc_cpu.h>
#include <torch/library.h>

#include <atomic>

namespace {

constexpr auto kSimulated = c10::DeviceType::PrivateUse1;
const c10::Device kDevice(kSimulated, 0);  // there is one

struct Memory final : c10::Allocator {
  static void release(void* p) { c10::free_cpu(p); }
  c10::DataPtr allocate(size_t bytes) override {
    void* p = bytes ? c10::alloc_cpu(bytes) : nullptr;
    return {p, p, &release, kDevice};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }
};
Memory memory;
REGISTER_ALLOCATOR(kSimulated, &memory);

struct Guard final : c10::impl::DeviceGuardImplInterface {
  static constexpr c10::DeviceType static_type = kSimulated;
  c10::DeviceType type() const override { return kSimulated; }
  c10::Device exchangeDevice(c10::Device) const override { return kDevice; }
  c10::Device getDevice() const override { return kDevice; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device) const override { return c10::Stream(c10::Stream::DEFAULT, kDevice); }
  c10::Stream getDefaultStream(c10::Device) const override { return c10::Stream(c10::Stream::DEFAULT, kDevice); }
  c10::Stream exchangeStream(c10::Stream) const override { return c10::Stream(c10::Stream::DEFAULT, kDevice); }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

struct Numbers final : at::CPUGeneratorImpl {  // the device's own random numbers
  explicit Numbers(uint64_t seed = c10::default_rng_seed_val) : CPUGeneratorImpl(seed) {
    device_ = kDevice;
    key_set_ = c10::DispatchKeySet(c10::DispatchKey::PrivateUse1);
  }
};

const at::Generator& numbers() {
  static const auto ours = at::make_generator<Numbers>();
  return ours;
}

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  void setCurrentDevice(c10::DeviceIndex) const override {}
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex) const override { return 0; }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex) const override { return 0; }
  at::Device getDeviceFromPtr(void*) const override { return kDevice; }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override { return numbers(); }
  at::Generator getNewGenerator(c10::DeviceIndex) const override { return at::make_generator<Numbers>(); }
  void resizePrivateUse1Bytes(const c10::Storage& storage, size_t bytes) const override {
    auto fresh = memory.allocate(bytes);
    if (auto kept = std::min(bytes, storage.nbytes()))
      std::memcpy(fresh.get(), storage.data(), kept);
    storage.set_data_ptr(std::move(fresh));
    storage.unsafeGetStorageImpl()->set_nbytes(bytes);
  }
};

const bool registered = [] {
  at::RegisterPrivateUse1HooksInterface(new Hooks());
  return true;
}();

at::Tensor empty(
    at::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>, std::optional<at::Device>,
    std::optional<bool> pinned, std::optional<at::MemoryFormat> format) {
  TORCH_CHECK(!pinned.value_or(false), "only memory of the CPU can be pinned");
  return at::detail::empty_generic(
      size, &memory, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), c10::dtype_or_default(dtype), format);
}

at::Tensor empty_strided(
    at::IntArrayRef size, at::IntArrayRef stride, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
    std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(
      size, stride, &memory, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), c10::dtype_or_default(dtype));
}

at::Tensor host_view(const at::Tensor& t) {
  if (t.is_cpu())
    return t;
  auto host = at::from_blob(t.data_ptr(), t.sizes(), t.strides(), t.options().device(at::kCPU));
  return t.is_conj() ? host.conj() : host;
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool) {
  auto target = host_view(to);
  at::native::copy_(target, host_view(from), false);
  return to;
}

at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  at::native::resize_(to, from.sizes(), std::nullopt);
  return copy_from(from, to, false);
}

at::Scalar local_scalar_dense(const at::Tensor& t) {
  return at::native::_local_scalar_dense_cpu(host_view(t));
}

at::Tensor as_strided(
    const at::Tensor& t, at::IntArrayRef size, at::IntArrayRef stride, std::optional<int64_t> offset) {
  return at::native::as_strided_tensorimpl(t, size, stride, offset);
}

// As kernels of CUDA: tensors are all on the device, but for a single number that is read, and what indexes.
void refuse_mixture(const c10::OperatorHandle& op, const torch::jit::Stack& stack) {
  const auto& schema = op.schema();
  const auto& name = schema.name();
  const auto& arguments = schema.arguments();
  const bool fused = name.find("_fused_") != std::string::npos;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const auto& value = torch::jit::peek(stack, i, arguments.size());
    if (arguments[i].name() == "indices" && name.find("index") != std::string::npos && !value.isTensor())
      continue;
    const bool written = arguments[i].alias_info() && arguments[i].alias_info()->isWrite();
    const auto check = [&](const at::Tensor& t) {
      const bool number = t.defined() && t.dim() == 0 && !written && !fused;
      TORCH_CHECK(
          !t.defined() || !t.is_cpu() || number, "Expected all tensors to be on the same device, but found at least two "
          "devices, simulated:0 and cpu! (argument ", arguments[i].name(), " of ", name, ")");
    };
    if (value.isTensor()) {
      check(value.toTensor());
    } else if (value.isTensorList()) {
      for (const at::Tensor& t : value.toTensorVector())
        check(t);
    } else if (value.isOptionalTensorList()) {
      for (const auto& t : value.toOptionalTensorVector())
        if (t)
          check(*t);
    }
  }
}

std::atomic<int64_t> kernels = 0;

// The CPU's kernel on copies. What is random is drawn from the device's generator, or the one that is given.
void by_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  refuse_mixture(op, *stack);
  ++kernels;
  if (!op.hasTag(at::Tag::nondeterministic_seeded))
    return at::native::cpu_fallback(op, stack);
  auto ours = numbers();
  const auto count = op.schema().arguments().size();
  for (size_t i = 0; i < count; ++i) {
    auto& value = torch::jit::peek(*stack, i, count);
    if (!value.isGenerator())
      continue;
    ours = value.toGenerator();
    TORCH_CHECK(
        ours.device().type() == kSimulated, "Expected a 'simulated' device type for generator but found '",
        ours.device().type(), "'");
    value = c10::IValue();
  }
  auto hosts = at::detail::getDefaultCPUGenerator();
  const auto before = hosts.get_state();
  hosts.set_state(ours.get_state());
  at::native::cpu_fallback(op, stack);
  ours.set_state(hosts.get_state());
  hosts.set_state(before);
}

}  // namespace

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("as_strided", as_strided);
  m.impl("_copy_from", copy_from);
  m.impl("_copy_from_and_resize", copy_from_and_resize);
  m.impl("_local_scalar_dense", local_scalar_dense);
  m.impl("_reshape_alias", TORCH_FN(at::native::_reshape_alias));
  m.impl("view", TORCH_FN(at::native::view));
  m.impl("resize_", TORCH_FN(at::native::resize_));
  m.impl("set_.source_Tensor", TORCH_FN(at::native::set_tensor_));
  m.impl("set_.source_Storage", [](at::Tensor& t, at::Storage s) -> at::Tensor& { return at::native::set_(t, s); });
  m.impl(
      "set_.source_Storage_storage_offset",
      [](at::Tensor& t, at::Storage s, int64_t offset, at::IntArrayRef size, at::IntArrayRef stride) -> at::Tensor& {
        return at::native::set_storage_cpu_(t, s, offset, size, stride);
      });
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&by_cpu>());
}

TORCH_LIBRARY_IMPL(_, AutocastPrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFallthrough());
}

#define LOWER(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, lower_precision_fp)
#define FULL(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, fp32)
TORCH_LIBRARY_IMPL(aten, AutocastPrivateUse1, m) {
  AT_FORALL_LOWER_PRECISION_FP(LOWER)
  AT_FORALL_FP32(FULL)
}

TORCH_LIBRARY(simulated_device, m) {  // what the Python module asks for
  m.def("kernels() -> int", [] { return kernels.load(); });
  m.def("seed(int seed) -> ()", [](int64_t seed) { at::Generator(numbers()).set_current_seed(seed); });
  m.def("state() -> Tensor", [] { return numbers().get_state(); });
  m.def("set_state(Tensor state) -> ()", [](const at::Tensor& state) { at::Generator(numbers()).set_state(state); });
}
