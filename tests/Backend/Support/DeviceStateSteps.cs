using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>What a front-end says to move the state of a device.</summary>
internal static class DeviceStateSteps
{
    internal const ulong OwnDescriptorIsUsed = 0x100;
    internal const ulong Failed = 0x101;

    internal static readonly byte[] Save = RawFrontend.Bytes(new VhostUserDeviceState(VhostUserTransferDirection.Save, VhostUserTransferPhase.Stopped));
    internal static readonly byte[] Load = RawFrontend.Bytes(new VhostUserDeviceState(VhostUserTransferDirection.Load, VhostUserTransferPhase.Stopped));

    internal static async Task<ulong> BeginAsync(RawFrontend frontend, byte[] said, SafeHandle descriptor)
    {
        await frontend.SendAsync(VhostUserRequest.SetDeviceStateFd, said, descriptor);
        return BitConverter.ToUInt64(await frontend.ReplyToAsync((uint)VhostUserRequest.SetDeviceStateFd));
    }

    internal static Task<ulong> CheckAsync(RawFrontend frontend) => frontend.AskU64Async(VhostUserRequest.CheckDeviceState);

    internal static async Task<byte[]> SaveAsync(RawFrontend frontend)
    {
        (SafeFileHandle reader, SafeFileHandle writer) = Libc.Pipe();
        using (writer)
            (await BeginAsync(frontend, Save, writer)).Should().Be(OwnDescriptorIsUsed);
        using MemoryStream all = new();
        await using FileStream pipe = new(reader, FileAccess.Read);
        await pipe.CopyToAsync(all).InTime();
        return all.ToArray();
    }

    internal static async Task LoadAsync(RawFrontend frontend, byte[] state)
    {
        (SafeFileHandle reader, SafeFileHandle writer) = Libc.Pipe();
        using (reader)
            (await BeginAsync(frontend, Load, reader)).Should().Be(OwnDescriptorIsUsed);
        await using FileStream pipe = new(writer, FileAccess.Write);
        await pipe.WriteAsync(state).AsTask().InTime();
    }
}
