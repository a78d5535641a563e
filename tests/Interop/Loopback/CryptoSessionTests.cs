using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Loopback;

/// <summary>Sessions of a crypto device, between our two halves.</summary>
public sealed class CryptoSessionTests
{
    private const uint CreateCipher = 2;

    private static readonly VhostUserCryptoParameters _aes = new(3, 0, 0, 0, 0, 0, 1, 1, 0, 0);

    [Theory]
    [InlineData(VhostUserCryptoLayout.Wide, CreateCipher)]
    [InlineData(VhostUserCryptoLayout.WithOperation, CreateCipher)]
    [InlineData(VhostUserCryptoLayout.WithoutOperation, 0u)]
    [Shows(Counterpart.Loopback, VhostUserRequest.CreateCryptoSession, VhostUserRequest.CloseCryptoSession, VhostUserProtocolFeatures.CryptoSession)]
    public async Task A_session_is_created_with_its_keys_in_each_layout_and_closed(VhostUserCryptoLayout layout, uint operation)
    {
        CryptoDevice device = new() { NarrowLayout = layout == VhostUserCryptoLayout.WithOperation ? layout : VhostUserCryptoLayout.WithoutOperation };
        await using Pair pair = await Pair.StartAsync(device);
        ulong id = await pair.Frontend.CreateCryptoSessionAsync(layout, CreateCipher, _aes, new byte[] { 1, 2, 3 }, new byte[] { 4 });
        device.Sessions.Should().ContainKey(id).WhoseValue.Should().Be($"{operation} 3 010203 04");
        await pair.Frontend.CloseCryptoSessionAsync(id);
        device.Sessions.Should().BeEmpty();
        Func<Task> again = async () => await pair.Frontend.CloseCryptoSessionAsync(id);
        await again.Should().ThrowAsync<VhostUserRejectedException>();
    }

    [Fact]
    public async Task An_asymmetric_key_comes_to_its_own_method()
    {
        CryptoDevice device = new();
        await using Pair pair = await Pair.StartAsync(device);
        ulong id = await pair.Frontend.CreateAsymmetricSessionAsync(1, 2, 0, 3, new byte[] { 9, 8 });
        device.Sessions[id].Should().Be("key 1 2 3 0908");
    }

    [Fact]
    [Shows(Counterpart.Loopback, VhostUserRequest.ResetDevice, VhostUserProtocolFeatures.ResetDevice)]
    public async Task Sessions_vanish_with_a_reset_and_with_the_front_end_and_no_number_comes_again()
    {
        CryptoDevice device = new();
        HashSet<ulong> seen = [];
        await using (Pair pair = await Pair.StartAsync(device))
        {
            seen.Add(await CreateAsync(pair));
            seen.Add(await CreateAsync(pair));
            (await pair.Frontend.ResetDeviceAsync()).Should().Be(DeviceResetMethod.ResetDevice);
            device.Sessions.Should().BeEmpty();
            seen.Add(await CreateAsync(pair));
            device.Sessions.Should().HaveCount(1);
        }

        device.Sessions.Should().BeEmpty();
        await using Pair next = await Pair.StartAsync(device);
        seen.Add(await CreateAsync(next));
        seen.Should().HaveCount(4);
    }

    [Fact]
    public async Task B35_What_the_device_does_not_take_or_is_too_much_is_refused_and_the_session_goes_on()
    {
        CryptoDevice device = new() { MostSessions = 2 };
        await using Pair pair = await Pair.StartAsync(device);
        device.Throws = true;
        Func<Task> create = () => CreateAsync(pair);
        (await create.Should().ThrowAsync<VhostUserRejectedException>()).Which.ReplyCode.Should().Be(ulong.MaxValue);
        device.Throws = false;
        await create();
        ulong second = await CreateAsync(pair);
        for (int i = 0; i < 10_000; i++)
            await create.Should().ThrowAsync<VhostUserRejectedException>();
        await pair.Frontend.CloseCryptoSessionAsync(second);
        await create();
        device.Sessions.Should().HaveCount(2);
    }

    [Theory]
    [InlineData(VhostUserCryptoLayout.WithoutOperation, 12, 65u)]
    [InlineData(VhostUserCryptoLayout.WithoutOperation, 24, 513u)]
    [InlineData(VhostUserCryptoLayout.Wide, 12, uint.MaxValue)]
    [InlineData(VhostUserCryptoLayout.Wide, 24, uint.MaxValue)]
    [InlineData(VhostUserCryptoLayout.Wide, -16, 1025u)]
    [InlineData(VhostUserCryptoLayout.Wide, -16, uint.MaxValue)]
    public async Task B35_Keys_longer_than_their_place_are_refused(VhostUserCryptoLayout layout, int at, uint length)
    {
        CryptoDevice device = new();
        await using Pair pair = await Pair.StartAsync(device);
        byte[] payload = new byte[VhostUserCryptoSession.EncodedSizeOf(layout)];
        BitConverter.TryWriteBytes(payload, at < 0 ? VhostUserAsymmetricSession.CreateOperation : CreateCipher);
        BitConverter.TryWriteBytes(payload.AsSpan(Math.Abs(at)), length);
        byte[] reply = await pair.Frontend.Requests.CreateCryptoSessionAsync(payload);
        VhostUserCryptoSession.TryReadSessionId(reply, out long id).Should().BeTrue();
        id.Should().Be(-1);
        device.Sessions.Should().BeEmpty();
    }

    [Fact]
    public async Task A_device_without_sessions_does_not_offer_them()
    {
        await using SharingPair pair = await SharingPair.StartAsync(new());
        Func<Task> create = async () => await pair.Frontend.CreateCryptoSessionAsync(VhostUserCryptoLayout.Wide, CreateCipher, _aes, new byte[16]);
        await create.Should().ThrowAsync<VhostUserFeatureException>();
        pair.Backend.OfferedProtocolFeatures.Should().NotHaveFlag(VhostUserProtocolFeatures.CryptoSession);
    }

    private static async Task<ulong> CreateAsync(Pair pair) => await pair.Frontend.CreateCryptoSessionAsync(VhostUserCryptoLayout.Wide, CreateCipher, _aes, new byte[16]);

    private sealed class Pair(VhostUserBackend backend, Task serving, VhostUserFrontend frontend) : IAsyncDisposable
    {
        public VhostUserFrontend Frontend => frontend;

        public static async Task<Pair> StartAsync(IVhostUserDevice device)
        {
            (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
            VhostUserBackend backend = new(device);
            Task serving = Task.Run(() => backend.ServeAsync(back));
            VhostUserFrontendOptions options = new() { RequiredProtocolFeatures = VhostUserProtocolFeatures.CryptoSession };
            return new Pair(backend, serving, await VhostUserFrontend.StartAsync(front, options));
        }

        public async ValueTask DisposeAsync()
        {
            await frontend.DisposeAsync();
            await serving.InTime();
            await backend.DisposeAsync();
        }
    }

    private sealed class CryptoDevice : ICryptoSessionDevice
    {
        public Dictionary<ulong, string> Sessions { get; } = [];

        public bool Throws { get; set; }

        public int MostSessions { get; init; } = 16;

        public VhostUserCryptoLayout NarrowLayout { get; init; } = VhostUserCryptoLayout.WithoutOperation;

        public int QueueCount => 1;

        public VirtioFeatures Features => VirtioFeatures.Version1;

        public bool TryCreateSession(ulong id, in VhostUserCryptoSession session)
        {
            if (Throws)
                throw new InvalidOperationException("the test device was told to fail");
            Sessions.Add(id, $"{session.Operation} {session.Parameters.CipherAlgorithm} {Convert.ToHexString(session.CipherKey)} {Convert.ToHexString(session.AuthenticationKey)}");
            return true;
        }

        public bool TryCreateSession(ulong id, in VhostUserAsymmetricSession session)
        {
            Sessions.Add(id, $"key {session.Algorithm} {session.KeyType} {session.HashAlgorithm} {Convert.ToHexString(session.Key)}");
            return true;
        }

        public void CloseSession(ulong id) => Sessions.Remove(id).Should().BeTrue();

        public void Process(DeviceVirtqueue queue)
        {
        }
    }
}
