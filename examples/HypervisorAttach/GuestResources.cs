using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace HypervisorAttach;

/// <summary>What the guest hands over: its RAM, its notifiers, and where in the RAM its ring lies.</summary>
internal sealed record GuestResources(
    SafeFileHandle Ram, SafeFileHandle Kick, SafeFileHandle Call, ulong RamSize, ushort RingSize, GuestAddress DescriptorTable, GuestAddress AvailableRing, GuestAddress UsedRing)
{
    private const int Numbers = 5;

    public ValueTask SendAsync(VhostUserConnection line)
    {
        ulong[] numbers = [RamSize, RingSize, DescriptorTable.Value, AvailableRing.Value, UsedRing.Value];
        byte[] payload = MemoryMarshal.AsBytes(numbers.AsSpan()).ToArray();
        return line.SendAsync(new VhostUserHeader(GuestMessages.Resources, VhostUserHeaderFlags.Version1, (uint)payload.Length), payload, new SafeHandle[] { Ram, Kick, Call });
    }

    public static async Task<GuestResources> ReceiveAsync(VhostUserConnection line)
    {
        using VhostUserMessage? message = await line.ReceiveAsync();
        if (message is not { Header.Request: GuestMessages.Resources, DescriptorCount: 3 } || message.Payload.Length != Numbers * sizeof(ulong))
            throw new IOException("The guest did not hand over its resources.");
        ReadOnlySpan<ulong> numbers = MemoryMarshal.Cast<byte, ulong>(message.Payload);
        return new GuestResources(
            message.TakeDescriptor(0),
            message.TakeDescriptor(1),
            message.TakeDescriptor(2),
            numbers[0],
            checked((ushort)numbers[1]),
            new GuestAddress(numbers[2]),
            new GuestAddress(numbers[3]),
            new GuestAddress(numbers[4]));
    }
}
