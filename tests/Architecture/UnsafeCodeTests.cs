namespace Vhost.Architecture.Tests;

/// <summary>Raw pointers and system calls have one address, and each says why it is sound.</summary>
public sealed class UnsafeCodeTests
{
    private static readonly string[] _unsafeParts = ["Protocol/Interop", "Protocol/Memory", "Protocol/Rings"];

    [Fact]
    public void Unsafe_code_stands_only_where_it_may() =>
        SourceFile.All.Where(file => !_unsafeParts.Contains(file.Part)).SelectMany(file => file.Uses("unsafe")).Should().BeEmpty();

    [Theory]
    [InlineData("LibraryImport")]
    [InlineData("DllImport")]
    public void System_calls_stand_only_where_they_may(string word) =>
        SourceFile.All.Where(file => !_unsafeParts.Contains(file.Part)).SelectMany(file => file.Uses(word)).Should().BeEmpty();

    [Fact]
    public void Every_unsafe_member_and_block_says_why_it_is_sound()
    {
        IEnumerable<string> silent =
            from file in SourceFile.All
            from line in UnsafeMembers.In(file)
            where !UnsafeMembers.HasReason(file, line)
            select file.Place(line);
        silent.Should().BeEmpty("a comment that begins with \"Safety:\" stands above each");
    }

    [Fact]
    public void The_scanner_finds_what_it_looks_for()
    {
        SourceFile.All.SelectMany(UnsafeMembers.In).Should().HaveCountGreaterThan(20);
        SourceFile.All.Single(file => file.Path == "src/Protocol/Memory/MappedBytes.cs").Should()
            .Match<SourceFile>(file => UnsafeMembers.In(file).Any(), "members of an unsafe type are found by their pointers");
    }
}
