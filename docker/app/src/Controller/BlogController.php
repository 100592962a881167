<?php

namespace App\Controller;

use App\Entity\Comment;
use App\Entity\Post;
use App\Form\CommentType;
use App\Repository\PostRepository;
use Doctrine\ORM\EntityManagerInterface;
use Symfony\Bundle\FrameworkBundle\Controller\AbstractController;
use Symfony\Component\Form\FormInterface;
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\HttpFoundation\Response;
use Symfony\Component\Routing\Annotation\Route;

final class BlogController extends AbstractController
{
    public function __construct(private PostRepository $posts)
    {
    }

    #[Route('/', name: 'home', methods: ['GET'])]
    public function index(Request $request): Response
    {
        $tag = $request->query->get('tag');
        $tag = \is_string($tag) ? $tag : null;
        $page = $this->posts->page($request->query->getInt('page', 1), $tag)
            ?? throw $this->createNotFoundException('There is no such page of posts.');

        return $this->render('post/index.html.twig', [
            'page' => $page,
            'tag' => $tag,
            'tags' => $this->posts->tagsInUse(),
        ]);
    }

    #[Route('/posts/{slug}', name: 'post', methods: ['GET'])]
    public function show(string $slug, Request $request): Response
    {
        $form = $this->isGranted('ROLE_USER') ? $this->createForm(CommentType::class) : null;

        return $this->page($this->post($slug), $form, $request->query->getInt('page', 1));
    }

    #[Route('/posts/{slug}', name: 'comment', methods: ['POST'])]
    public function comment(string $slug, Request $request, EntityManagerInterface $entities): Response
    {
        $this->denyAccessUnlessGranted('ROLE_USER');
        $post = $this->post($slug);
        $form = $this->createForm(CommentType::class)->handleRequest($request);
        if (!$form->isSubmitted() || !$form->isValid()) {
            return $this->page($post, $form)->setStatusCode(Response::HTTP_UNPROCESSABLE_ENTITY);
        }
        $comment = new Comment($post, $this->getUser(), $form->get('content')->getData(), new \DateTimeImmutable());
        $entities->persist($comment);
        $entities->flush();

        $last = $this->posts->lastPageOfComments($post);

        return $this->redirectToRoute(
            'post',
            ['slug' => $slug, '_fragment' => 'comment-'.$comment->getId()] + ($last > 1 ? ['page' => $last] : []),
            Response::HTTP_SEE_OTHER,
        );
    }

    private function post(string $slug): Post
    {
        return $this->posts->findBySlug($slug) ?? throw $this->createNotFoundException('There is no such post.');
    }

    private function page(Post $post, ?FormInterface $form, int $number = 1): Response
    {
        return $this->render('post/show.html.twig', [
            'post' => $post,
            'page' => $this->posts->comments($post, $number)
                ?? throw $this->createNotFoundException('There is no such page of comments.'),
            'form' => $form?->createView(),
        ]);
    }
}
