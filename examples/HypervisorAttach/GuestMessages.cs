using Vhost.Protocol;

namespace HypervisorAttach;

/// <summary>The line between guest and hypervisor of this example. The library's connection carries it, since it can pass descriptors.</summary>
internal static class GuestMessages
{
    public const uint Resources = 1;
    public const uint Attached = 2;
    public const uint Done = 3;
    public const uint Detached = 4;

    public static ValueTask SendAsync(VhostUserConnection line, uint code) =>
        line.SendAsync(new VhostUserHeader(code, VhostUserHeaderFlags.Version1, 0), ReadOnlyMemory<byte>.Empty);

    public static async Task ExpectAsync(VhostUserConnection line, uint code)
    {
        using VhostUserMessage? message = await line.ReceiveAsync();
        if (message?.Header.Request != code)
            throw new IOException($"Expected message {code}, got {message?.Header.Request.ToString() ?? "the end"}.");
    }
}
