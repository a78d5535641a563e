using FsCheck;
using FsCheck.Fluent;
using PF = Vhost.Protocol.VhostUserProtocolFeatures;

namespace Vhost.Protocol.Tests;

public sealed class FeatureTests
{
    [Fact]
    public void Protocol_features_are_bits_0_to_23_and_each_has_a_name()
    {
        ulong[] bits = [.. Enum.GetValues<VhostUserProtocolFeatures>().Select(bit => (ulong)bit).Where(bit => ulong.PopCount(bit) == 1)];
        bits.Should().Equal(Enumerable.Range(0, 24).Select(bit => 1UL << bit));
        for (int bit = 0; bit < 24; bit++)
            FeatureNames.OfProtocolBit(bit).Should().NotStartWith("bit ");
        FeatureNames.OfProtocolBit(24).Should().Be("bit 24");
        FeatureNames.OfProtocolBit(64).Should().Be("bit 64");
        ((ulong)VhostUserProtocolFeatures.All).Should().Be(0xffffff);
    }

    [Fact]
    public void Virtio_features_each_have_a_name()
    {
        foreach (VirtioFeatures feature in Enum.GetValues<VirtioFeatures>().Where(feature => feature != VirtioFeatures.None))
            FeatureNames.OfVirtioBit((int)ulong.Log2((ulong)feature)).Should().NotStartWith("bit ");
        FeatureNames.OfVirtioBit(3).Should().Be("bit 3");
        FeatureNames.OfVirtioBit(-1).Should().Be("bit -1");
    }

    [Fact]
    public void Every_bit_of_a_network_device_has_its_name()
    {
        foreach (VirtioNetFeatures feature in Enum.GetValues<VirtioNetFeatures>().Where(feature => ulong.IsPow2((ulong)feature)))
            FeatureNames.OfNetBit((int)ulong.Log2((ulong)feature)).Should().NotStartWith("bit ");
        FeatureNames.OfNetBit(15).Should().Be("MRG_RXBUF");
        FeatureNames.OfNetBit(63).Should().Be("SPEED_DUPLEX");
        FeatureNames.OfNetBit(4).Should().Be("bit 4");
    }

    [Fact]
    public void Every_bit_of_a_block_device_has_its_name()
    {
        foreach (VirtioBlkFeatures feature in Enum.GetValues<VirtioBlkFeatures>().Where(feature => feature != 0))
            FeatureNames.OfBlockBit((int)ulong.Log2((ulong)feature)).Should().NotStartWith("bit ");
        FeatureNames.OfBlockBit(11).Should().Be("CONFIG_WCE");
        FeatureNames.OfBlockBit(17).Should().Be("ZONED");
        FeatureNames.OfBlockBit(32).Should().Be("VERSION_1");
        FeatureNames.OfBlockBit(3).Should().Be("bit 3");
    }

    [Fact]
    public void A_word_is_described_with_its_value()
    {
        FeatureNames.Describe(VirtioFeatures.None).Should().Be("none (0x0)");
        FeatureNames.Describe(VirtioFeatures.Version1 | (VirtioFeatures)0x48).Should().Be("bit 3 bit 6 VERSION_1 (0x100000048)");
        FeatureNames.Describe(VirtioFeatures.Version1 | (VirtioFeatures)0x48, FeatureNames.OfBlockBit).Should().Be("bit 3 BLK_SIZE VERSION_1 (0x100000048)");
        FeatureNames.Describe((VhostUserProtocolFeatures)(1UL << 63 | 1)).Should().Be("MQ bit 63 (0x8000000000000001)");
    }

    [Theory]
    [InlineData(PF.InbandNotifications, PF.BackendReq | PF.ReplyAck)]
    [InlineData(PF.InbandNotifications | PF.ReplyAck, PF.BackendReq)]
    [InlineData(PF.GetVringBaseInflight, PF.InflightShmFd)]
    [InlineData(PF.GetVringBaseSkipDrain, PF.GetVringBaseInflight | PF.InflightShmFd)]
    [InlineData(PF.All, PF.None)]
    public void Features_that_need_others_say_which(PF features, PF missing) => ProtocolFeatureRules.MissingFrom(features).Should().Be(missing);

    [Fact]
    public void What_stays_without_orphans_lacks_nothing_and_adds_nothing()
    {
        Prop.ForAll(ArbMap.Default.ArbFor<ulong>(), word =>
        {
            PF kept = ProtocolFeatureRules.WithoutOrphans((PF)word);
            ProtocolFeatureRules.MissingFrom(kept).Should().Be(PF.None);
            (kept & ~(PF)word).Should().Be(PF.None);
            if (ProtocolFeatureRules.MissingFrom((PF)word) == PF.None)
                kept.Should().Be((PF)word);
        }).QuickCheckThrowOnFailure();
    }
}
