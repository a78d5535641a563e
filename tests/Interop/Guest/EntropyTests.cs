using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Guests;

/// <summary>A guest's hardware random number generator is ours.</summary>
[Collection(GuestCollection.Name)]
public sealed class EntropyTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [SkippableFact]
    public async Task A_guest_reads_entropy()
    {
        string socket = _folder.File("s");
        await using ChildProcess server = ToolProcess.Start("serve", "rng", "--socket-path", socket, "--json");
        await server.ErrorLineAsync("serving");
        await using Guest guest = await Guest.BootAsync(new GuestCommand().WithEntropy(socket));

        await guest.RunAsync("modprobe virtio_rng");
        (await guest.RunAsync("cat /sys/class/misc/hw_random/rng_current")).Should().StartWith("virtio_rng");
        string first = await guest.RunAsync("dd if=/dev/hwrng bs=64 count=4 2>/dev/null | od -An -v -tx1");
        string second = await guest.RunAsync("dd if=/dev/hwrng bs=64 count=4 2>/dev/null | od -An -v -tx1");
        string[] bytes = first.Split([' ', '\n'], StringSplitOptions.RemoveEmptyEntries);
        bytes.Should().HaveCountGreaterThanOrEqualTo(64);
        bytes.Distinct(StringComparer.Ordinal).Should().HaveCountGreaterThan(16, "bytes are not all alike");
        second.Should().NotBe(first);

        await guest.PowerOffAsync();
        ChildProcess.Outcome outcome = await server.TerminateAsync();
        ToolProcess.Parse(outcome).GetProperty("bytes").GetInt64().Should().BeGreaterThanOrEqualTo(bytes.Length);
    }

    [SkippableFact]
    public async Task A_guest_whose_source_is_killed_waits_where_it_reads_and_lives_on()
    {
        string socket = _folder.File("s");
        await using ChildProcess server = ToolProcess.Start("serve", "rng", "--socket-path", socket);
        await server.ErrorLineAsync("serving");
        await using Guest guest = await Guest.BootAsync(new GuestCommand().WithEntropy(socket));
        const string read = "dd if=/dev/hwrng of=/dev/null bs=64 count=64"; // more than the guest's kernel keeps in store
        await guest.RunAsync($"modprobe virtio_rng; {read}");

        server.Signal(UnixSignal.Kill);
        await server.EndAsync();

        (await guest.TryRunAsync($"timeout 3 {read}")).ExitCode.Should().NotBe(0, "it waited until it was told to end");
        await guest.PowerOffAsync();
    }
}
