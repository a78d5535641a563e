using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>Sessions of a crypto device: what goes out for them in each layout that peers have, and what is made of the answer.</summary>
[Collection(ProcessCounts.Name)]
public sealed class CryptoSessionTests : CountedTests
{
    private const uint CreateCipher = 2;

    private static readonly VhostUserCryptoParameters _aes = new(3, 0, 4, 5, 0, 6, 1, 2, 3, 4);
    private static readonly byte[] _key = [0xa1, 0xa2, 0xa3];
    private static readonly byte[] _authenticationKey = [0xb1, 0xb2];

    [Theory]
    [InlineData(VhostUserCryptoLayout.Wide, 1072, 0, 8, 1064)]
    [InlineData(VhostUserCryptoLayout.WithOperation, 632, 8, 12, 0)]
    [InlineData(VhostUserCryptoLayout.WithoutOperation, 632, null, 8, 0)]
    [Shows(Counterpart.Script, VhostUserRequest.CreateCryptoSession, VhostUserRequest.CloseCryptoSession, VhostUserProtocolFeatures.CryptoSession)]
    public async Task A_session_is_created_in_the_layout_of_the_peer_and_closed_by_its_number(VhostUserCryptoLayout layout, int size, int? operation, int parameters, int number)
    {
        await using Dialogue dialogue = await StartAsync();
        dialogue.Backend.Misbehave = (request, _) => Answer(request, number, 0x1234);
        byte[] expected = new byte[size];
        if (operation is { } at)
            Put(expected, at, CreateCipher);
        Put(expected, parameters, 3, 3, 4, 5, 2, 6, 0x0403_0201);
        _key.CopyTo(expected, 56);
        _authenticationKey.CopyTo(expected, 120);

        ulong session = await dialogue.Session.CreateCryptoSessionAsync(layout, CreateCipher, _aes, _key, _authenticationKey).InTime();

        session.Should().Be(0x1234);
        dialogue.Backend.Last(VhostUserRequest.CreateCryptoSession).Payload.Should().Equal(expected);
        await dialogue.Session.CloseCryptoSessionAsync(session).InTime();
        dialogue.Backend.Transcript.TakeLast(2).Should().Equal("CREATE_CRYPTO_SESSION", "CLOSE_CRYPTO_SESSION 4660 !");
        dialogue.Session.Summary.UsedProtocolFeatures.Should().HaveFlag(VhostUserProtocolFeatures.CryptoSession);
    }

    [Fact]
    public async Task An_asymmetric_key_goes_out_in_the_wide_layout()
    {
        await using Dialogue dialogue = await StartAsync();
        dialogue.Backend.Misbehave = static (request, _) => Answer(request, 1064, 9);
        byte[] expected = new byte[1072];
        Put(expected, 0, 0x404u);
        Put(expected, 8, 1, 2, 3);
        Put(expected, 32, 4, 5);
        _key.CopyTo(expected, 40);

        (await dialogue.Session.CreateAsymmetricSessionAsync(algorithm: 1, keyType: 2, paddingAlgorithm: 4, hashAlgorithm: 5, _key).InTime()).Should().Be(9);

        dialogue.Backend.Last(VhostUserRequest.CreateCryptoSession).Payload.Should().Equal(expected);
    }

    [Theory]
    [InlineData(-1L)]
    [InlineData(-22L)]
    [InlineData(long.MinValue)]
    public async Task F20_a_negative_number_is_a_refusal_and_the_session_of_the_device_goes_on(long number)
    {
        await using Dialogue dialogue = await StartAsync();
        dialogue.Backend.Misbehave = (request, _) => Answer(request, 1064, number);
        await Creating(dialogue).Should().ThrowAsync<VhostUserRejectedException>().WithMessage($"VHOST_USER_CREATE_CRYPTO_SESSION*{number}*");
        await dialogue.Session.ReadConfigAsync(0, new byte[4]);
    }

    [Fact]
    public async Task F07_an_answer_in_another_layout_is_no_answer()
    {
        await using Dialogue dialogue = await StartAsync();
        dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.CreateCryptoSession ? Misbehaviour.Reply(request.Code, new byte[632]) : null;
        await Creating(dialogue).Should().ThrowAsync<VhostUserProtocolException>().WithMessage("*asked with 1072 bytes, answered with 632*");
    }

    [Theory]
    [InlineData(0)]
    [InlineData(8)]
    [InlineData(631)]
    [InlineData(1071)]
    [InlineData(1073)]
    public async Task F02_an_answer_of_no_layout_ends_the_session(int size)
    {
        await using Dialogue dialogue = await StartAsync();
        dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.CreateCryptoSession ? Misbehaviour.Reply(request.Code, new byte[size]) : null;
        await Creating(dialogue).Should().ThrowAsync<VhostUserProtocolException>().WithMessage($"*CREATE_CRYPTO_SESSION*{size} bytes*");
        await dialogue.Session.Completion.Awaiting(task => task.InTime()).Should().ThrowAsync<VhostUserProtocolException>();
    }

    [Fact]
    public async Task F20_a_session_that_cannot_be_closed_is_an_error_where_it_is_acknowledged()
    {
        await using Dialogue dialogue = await StartAsync();
        dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.CloseCryptoSession ? Misbehaviour.Reply(request.Code, BitConverter.GetBytes(1UL)) : null;
        await dialogue.Session.Awaiting(session => session.CloseCryptoSessionAsync(5).InTime()).Should().ThrowAsync<VhostUserRejectedException>().WithMessage("VHOST_USER_CLOSE_CRYPTO_SESSION*");

        await using Dialogue silent = await Dialogue.StartAsync(
            new BackendOffer().With(VhostUserProtocolFeatures.CryptoSession).Without(VhostUserProtocolFeatures.ReplyAck),
            new VhostUserFrontendOptions { RequiredProtocolFeatures = VhostUserProtocolFeatures.CryptoSession });
        await silent.Session.CloseCryptoSessionAsync(5).InTime();
        silent.Backend.Transcript.TakeLast(2).Should().Equal("CLOSE_CRYPTO_SESSION 5", "GET_FEATURES");
    }

    [Fact]
    public async Task What_is_not_negotiated_is_not_sent()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync(new BackendOffer().With(VhostUserProtocolFeatures.CryptoSession));
        int mark = dialogue.Backend.Mark();
        await Creating(dialogue).Should().ThrowAsync<VhostUserFeatureException>().WithMessage("*CREATE_CRYPTO_SESSION needs CRYPTO_SESSION*");
        await dialogue.Session.Awaiting(session => session.CloseCryptoSessionAsync(5).InTime()).Should().ThrowAsync<VhostUserFeatureException>();
        await dialogue.Session.ReadConfigAsync(0, new byte[4]);
        dialogue.Backend.Since(mark).Should().Equal("GET_CONFIG");
    }

    [Fact]
    public async Task Keys_that_are_too_long_are_not_sent()
    {
        await using Dialogue dialogue = await StartAsync();
        int mark = dialogue.Backend.Mark();
        await Creating(dialogue, new byte[65]).Should().ThrowAsync<ArgumentException>();
        await Creating(dialogue, _key, new byte[513]).Should().ThrowAsync<ArgumentException>();
        await dialogue.Session.Awaiting(session => session.CreateAsymmetricSessionAsync(1, 2, 0, 3, new byte[1025]).InTime()).Should().ThrowAsync<ArgumentException>();
        await dialogue.Session.ReadConfigAsync(0, new byte[4]);
        dialogue.Backend.Since(mark).Should().Equal("GET_CONFIG");
    }

    private static Func<Task> Creating(Dialogue dialogue, byte[]? key = null, byte[]? authenticationKey = null) => () =>
        dialogue.Session.CreateCryptoSessionAsync(VhostUserCryptoLayout.Wide, CreateCipher, _aes, key ?? _key, authenticationKey).InTime();

    /// <summary>Writes 32-bit numbers one after the other.</summary>
    private static void Put(byte[] bytes, int at, params uint[] values)
    {
        for (int i = 0; i < values.Length; i++)
            BitConverter.TryWriteBytes(bytes.AsSpan(at + (4 * i)), values[i]).Should().BeTrue();
    }

    /// <summary>The request again, with the number of the session in its place.</summary>
    private static Misbehaviour? Answer(ScriptedRequest request, int at, long number)
    {
        if (request.Code != VhostUserRequest.CreateCryptoSession)
            return null;
        byte[] reply = [.. request.Payload];
        BitConverter.TryWriteBytes(reply.AsSpan(at), number).Should().BeTrue();
        return Misbehaviour.Reply(request.Code, reply);
    }

    private static Task<Dialogue> StartAsync() => Dialogue.StartAsync(
        new BackendOffer().With(VhostUserProtocolFeatures.CryptoSession), new VhostUserFrontendOptions { RequiredProtocolFeatures = VhostUserProtocolFeatures.CryptoSession });
}
