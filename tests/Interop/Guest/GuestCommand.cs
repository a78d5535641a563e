using System.Globalization;

namespace Vhost.Interop.Tests.Guests;

/// <summary>How QEMU is started with devices of ours: the command line of <c>docs/guests.md</c>.</summary>
internal sealed record GuestCommand
{
    internal const string Program = "qemu-system-x86_64";

    /// <summary>The Debian package that brings it.</summary>
    internal const string Package = "qemu-system-x86";

    private const string NoOffloads = ",csum=off,host_tso4=off,host_tso6=off,host_ecn=off,guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off";

    /// <summary>Memory of the guest in MiB; shared, because the back-end maps it.</summary>
    public int Megabytes { get; init; } = 256;

    public int Processors { get; init; } = 1;

    /// <summary>Ends QEMU when the guest restarts itself.</summary>
    public bool EndsAtReboot { get; init; } = true;

    /// <summary>The guest has an IOMMU, and its devices are behind it.</summary>
    public bool HasIommu { get; init; }

    /// <summary>Starts nothing: waits for a guest that comes from elsewhere.</summary>
    public bool Receives { get; init; }

    /// <summary>What the kernel is told beside the usual.</summary>
    public string KernelOptions { get; init; } = "";

    /// <summary>Options of devices, each list one line of the document.</summary>
    public IReadOnlyList<IReadOnlyList<string>> Devices { get; init; } = [];

    /// <summary>Adds options of any device, for example a netdev with its front-end.</summary>
    internal GuestCommand With(params string[] options) => this with { Devices = [.. Devices, options] };

    /// <summary>Adds a disk served on a socket. QEMU connects again a second after it has lost the back-end.</summary>
    internal GuestCommand WithDisk(string socket, int queues = 1, bool packed = false, string id = "disk0") =>
        With(
            "-chardev", Text($"socket,id={id},path={socket},reconnect=1"),
            "-device", Text($"vhost-user-blk-pci,chardev={id},num-queues={queues}{(packed ? ",packed=on" : "")}{Platform}"));

    /// <summary>Adds a source of entropy served on a socket; it must be served when QEMU starts. With <c>reconnect</c> QEMU 7.2 fails an assertion there.</summary>
    internal GuestCommand WithEntropy(string socket) =>
        With("-chardev", Text($"socket,id=rng0,path={socket}"), "-device", "vhost-user-rng-pci,chardev=rng0");

    /// <summary>Adds a network card whose other end is a socket; it must be served when QEMU starts.</summary>
    internal GuestCommand WithNetwork(string socket, int number, int queues = 1, bool packed = false, bool offloads = true, int ringSize = 256) =>
        With(
            "-chardev", Text($"socket,id=net0,path={socket},reconnect=1"),
            "-netdev", Text($"vhost-user,id=n0,chardev=net0{(queues > 1 ? $",queues={queues}" : "")}"),
            "-device", Text($"virtio-net-pci,netdev=n0,vectors=0,mac=52:54:00:00:00:{number:x2}{(queues > 1 ? ",mq=on" : "")}{(packed ? ",packed=on" : "")}{(ringSize == 256 ? "" : $",rx_queue_size={ringSize},tx_queue_size={ringSize}")}{Platform}{(offloads ? "" : NoOffloads)}"));

    /// <summary>Adds memory that the guest does not use. QEMU moves the largest piece first, so it has all of the guest's own by the time that it comes to this one.</summary>
    internal GuestCommand WithMemoryThatGoesLast(string file)
    {
        byte[] content = new byte[32 << 20];
        content.AsSpan().Fill(0x55); // pages of zeroes would be gone at once
        File.WriteAllBytes(file, content);
        return With("-object", Text($"memory-backend-file,id=last,mem-path={file},size={content.Length},share=on"), "-device", "ivshmem-plain,memdev=last,master=on");
    }

    /// <summary>Adds a place to plug a device into while the guest runs.</summary>
    internal GuestCommand WithSlot(string id) => With("-device", Text($"pcie-root-port,id={id}"));

    /// <summary>Everything behind the program, without the consoles.</summary>
    internal IReadOnlyList<IReadOnlyList<string>> Options(GuestImage image) =>
    [
        ["-accel", "tcg", "-machine", "q35,memory-backend=mem", "-smp", Text($"{Processors}"), "-m", Text($"{Megabytes}M")],
        ["-object", Text($"memory-backend-memfd,id=mem,size={Megabytes}M,share=on")],
        ["-nic", "none", .. EndsAtReboot ? (string[])["-no-reboot"] : []],
        ["-kernel", image.Kernel, "-initrd", image.Initramfs, "-append", $"console=ttyS0 panic=-1 loglevel=4{(HasIommu ? " intel_iommu=on" : "")} {KernelOptions}".TrimEnd()],
        .. HasIommu ? (string[][])[["-device", "intel-iommu,caching-mode=on,intremap=off"]] : [],
        .. Devices,
        .. Receives ? (string[][])[["-incoming", "defer"]] : [],
    ];

    /// <summary>The command as a person types it, a guest's console on the terminal.</summary>
    internal string Document() => string.Join(
        " \\\n  ", Options(GuestImage.Documented).Select(line => string.Join(' ', line.Select(Quote))).Prepend($"{Program} -nographic"));

    /// <summary>What a device is told that is behind the IOMMU.</summary>
    private string Platform => HasIommu ? ",iommu_platform=on,disable-legacy=on" : "";

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    private static string Quote(string argument) => argument.Contains(' ', StringComparison.Ordinal) ? $"\"{argument}\"" : argument;
}
