using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>The front-end's side of an IOMMU, by hand: what it says of translations, and what it is asked.</summary>
internal sealed class RawIommu : IAsyncDisposable
{
    /// <summary>Asked for again soon, and not before a test has seen what was asked.</summary>
    public static readonly VhostUserBackendOptions Options = new()
    {
        AdditionalFeatures = VirtioFeatures.AccessPlatform,
        DrainTimeout = TimeSpan.FromSeconds(2),
        IotlbRetry = TimeSpan.FromHours(1),
    };

    private readonly RawFrontend _frontend;
    private readonly TestGuest _guest;

    private RawIommu(RawFrontend frontend, TestGuest guest, VhostUserConnection channel) => (_frontend, _guest, Channel) = (frontend, guest, channel);

    /// <summary>Where the back-end asks.</summary>
    public VhostUserConnection Channel { get; }

    /// <summary>Negotiates with an IOMMU and shares memory.</summary>
    public static async Task<RawIommu> StartAsync(RawFrontend frontend, TestGuest guest)
    {
        await frontend.NegotiateAsync(iommu: true);
        await frontend.AddMemoryAsync(guest);
        return await OpenAsync(frontend, guest);
    }

    /// <summary>Gives the back-end a channel, the first or another one.</summary>
    public static async Task<RawIommu> OpenAsync(RawFrontend frontend, TestGuest guest)
    {
        (SafeFileHandle ours, SafeFileHandle theirs) = Libc.UnixSocketPair();
        using (theirs)
            await frontend.AcceptedAsync(VhostUserRequest.SetBackendReqFd, default, theirs);
        return new RawIommu(frontend, guest, VhostUserConnection.Adopt(ours));
    }

    public static VhostUserIotlb Update(ulong address, ulong size, UserAddress user, VhostUserIotlbPermission permission = VhostUserIotlbPermission.ReadWrite) =>
        new(new IoVirtualAddress(address), size, user, permission, VhostUserIotlbType.Update);

    public static VhostUserIotlb Invalidation(ulong address, ulong size) =>
        new(new IoVirtualAddress(address), size, default, VhostUserIotlbPermission.None, VhostUserIotlbType.Invalidate);

    public Task SayAsync(VhostUserIotlb message) => _frontend.AcceptedAsync(VhostUserRequest.IotlbMsg, RawFrontend.Bytes(message));

    public Task RefusedAsync(VhostUserIotlb message) => _frontend.RefusedAsync(VhostUserRequest.IotlbMsg, RawFrontend.Bytes(message));

    /// <summary>All that rings and buffers of the guest name: rings by what else is their user address, buffers by what else is their guest address.</summary>
    public async Task MapAllAsync()
    {
        await MapRingsAsync();
        await MapBuffersAsync();
    }

    public Task MapRingsAsync() => SayAsync(Update(_guest.UserStart.Value, TestGuest.Size, _guest.UserStart));

    public Task MapBuffersAsync() => SayAsync(Update(_guest.GuestStart.Value, TestGuest.Size, _guest.UserStart));

    /// <summary>The next thing that is asked; null: nothing is, for so long.</summary>
    public async Task<VhostUserIotlb?> TryAskedAsync(TimeSpan patience)
    {
        using CancellationTokenSource quiet = new(patience);
        try
        {
            using VhostUserMessage? message = await Channel.ReceiveAsync(quiet.Token).InTime();
            return Read(message);
        }
        catch (OperationCanceledException)
        {
            return null;
        }
    }

    /// <summary>The next thing that is asked.</summary>
    public async Task<VhostUserIotlb> AskedAsync()
    {
        using VhostUserMessage? message = await Channel.ReceiveAsync().InTime();
        return Read(message);
    }

    /// <summary>The next thing that is said is that an access was refused.</summary>
    public async Task<(ulong Address, VhostUserIotlbPermission Permission)> ToldRefusedAsync()
    {
        using VhostUserMessage? message = await Channel.ReceiveAsync().InTime();
        VhostUserIotlb told = Read(message, VhostUserIotlbType.AccessFail);
        return (told.Address.Value, told.Permission);
    }

    private static VhostUserIotlb Read(VhostUserMessage? message, VhostUserIotlbType expected = VhostUserIotlbType.Miss)
    {
        message!.Header.Request.Should().Be((uint)VhostUserBackendRequest.IotlbMsg);
        message.Header.NeedsReply.Should().BeFalse("nobody would wait for the answer");
        message.Payload.Length.Should().Be(VhostUserIotlb.WireSize);
        VhostUserIotlb.TryRead(message.Payload, out VhostUserIotlb asked).Should().BeTrue();
        asked.Type.Should().Be(expected);
        return asked;
    }

    public async ValueTask DisposeAsync() => await Channel.DisposeAsync();
}
